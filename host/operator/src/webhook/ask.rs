//! Who decides about a request: the components that are loaded.

use std::sync::Arc;

use dask_operator_core::parent::DaskKind;
use dask_operator_render::admission::{self, Chain, Decider, Outcome, Request, Said};
use dask_operator_runtime::contract::Operation;
use k8s_openapi::jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::dry_run::DryRun;
use super::review::{About, Question, Step};
use super::rivals;
use crate::kinds::ExtraKinds;
use crate::plugins::{self, Labels, Plugins, Sources, Subject};
use crate::stores::Stores;

/// Requests whose components run at once, for each processor; others wait.
const AT_ONCE: usize = 2;

/// What became of a question.
#[derive(Debug)]
pub enum Decision {
    /// Nobody had to be asked.
    Unasked,
    /// What was said.
    Asked(Outcome),
    /// Who must be asked can't be; the outcome says so.
    Failed(Outcome),
}

/// The components that decide, who needs not ask them, and what else is known of what they decide about.
pub struct Deciders {
    /// The components of the operator.
    pub plugins: Arc<Plugins>,
    /// Where plugins may come from.
    pub sources: Sources,
    /// What is known of the cluster.
    pub stores: Stores,
    /// The operator itself, which is never asked to wait for what it decides itself.
    pub own_user: Option<String>,
    /// Kinds of children that the administrator allows beyond the usual.
    pub extra_kinds: ExtraKinds,
    /// What the API server says of templates.
    pub dry_run: DryRun,
    /// Whether mistakes are refused.
    pub strict: bool,
    /// Bounds how many components run at once: [`permits`].
    pub permits: Semaphore,
}

/// As many as components may run at once on this machine.
#[must_use]
pub fn permits() -> Semaphore {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Semaphore::new(AT_ONCE * cores)
}

impl Deciders {
    /// Decides, on a thread that may block. What the API server says of templates is waited for until `end` at most.
    pub async fn decide(self: Arc<Self>, question: Arc<Question>, end: Instant) -> Decision {
        let own = self.own_user.as_deref() == Some(question.user.as_str());
        let passes = match question.about {
            About::Dask(kind) => own || admission::passes_unasked(&question.request(kind)),
            About::Plugin | About::ClusterPlugin => {
                let old = question.old.as_ref().map(|old| &old["spec"]);
                question.operation == Operation::Delete || old == Some(&question.object["spec"])
            }
        };
        if passes {
            return Decision::Unasked;
        }
        let mut decision = self.clone().ask_components(question.clone()).await;
        if let (Decision::Asked(outcome), About::Dask(kind)) = (&mut decision, question.about)
            && outcome.is_allowed()
            && question.step == Step::Validate
            && question.operation != Operation::Delete
        {
            let old = question.old.as_ref();
            if kind == DaskKind::Autoscaler
                && let Some(mistake) = rivals::mistake(&self.stores, &question.object, old)
            {
                // One that there is may be the one that stays.
                if self.strict && old.is_none() {
                    outcome.refusals.push(mistake);
                } else {
                    outcome.warnings.push(mistake);
                }
            }
            self.dry_run
                .check(kind, &question.object, old, end, outcome)
                .await;
        }
        decision
    }

    async fn ask_components(self: Arc<Self>, question: Arc<Question>) -> Decision {
        // The semaphore is never closed.
        let _permit = self.permits.acquire().await;
        let deciders = self.clone();
        match tokio::task::spawn_blocking(move || deciders.answer(&question)).await {
            Ok(decision) => decision,
            Err(error) => failed(&format!("the webhook failed: {error}"), false),
        }
    }

    fn answer(&self, question: &Question) -> Decision {
        match question.about {
            About::Dask(kind) => self.ask(kind, question),
            About::Plugin => self.plugin(question, false),
            About::ClusterPlugin => self.plugin(question, true),
        }
    }

    /// Decides about a plugin: whether it could be in force here, as far as that is known without its code, or with it
    /// where it is loaded already.
    fn plugin(&self, question: &Question, of_cluster: bool) -> Decision {
        let catalog = self.plugins.catalog();
        let remarks = plugins::check(&self.sources, &catalog, &question.object, of_cluster);
        let mut outcome = Outcome::default();
        let said = |(field, message): (String, String)| Said::new("", &field, message);
        outcome.refusals.extend(remarks.refusals.into_iter().map(said));
        outcome.warnings.extend(remarks.warnings.into_iter().map(said));
        Decision::Asked(outcome)
    }

    fn ask(&self, kind: DaskKind, question: &Question) -> Decision {
        let request = question.request(kind);
        let labels = &question.object["metadata"]["labels"];
        let labels: Labels = serde_json::from_value(labels.clone()).unwrap_or_default();
        let subject = Subject {
            kind,
            namespace: question.object["metadata"]["namespace"]
                .as_str()
                .unwrap_or_default(),
            labels: &labels,
        };
        let catalog = self.plugins.catalog();
        let asked = catalog
            .logic(&subject)
            .and_then(|logic| Ok((logic, catalog.policies(&subject)?)));
        let (plugin, policies) = match asked {
            Ok(asked) => asked,
            Err(error) => {
                let passes = admission::leaves_spec(&request) || request.operation == Operation::Delete;
                let message = format!("nobody can say whether this is right: {error}");
                return failed(&message, passes);
            }
        };
        let chain = Chain {
            logic: Decider {
                title: plugin.title.as_str().into(),
                logic: &*plugin.logic,
                settings: plugin.settings.as_str().into(),
                child_kinds: plugin.child_kinds.as_slice().into(),
                extra_kinds: self.extra_kinds.of(plugin.is_of_tenant).into(),
            },
            policies,
            strict: self.strict,
        };
        Decision::Asked(match question.step {
            Step::Mutate => admission::mutate(&chain, &request),
            Step::Validate => admission::validate(&chain, &request, Timestamp::now().as_millisecond()),
        })
    }
}

impl Question {
    fn request(&self, kind: DaskKind) -> Request<'_> {
        Request {
            kind,
            operation: self.operation,
            object: &self.object,
            old: self.old.as_ref(),
            user_info: &self.user_info,
            dry_run: self.dry_run,
        }
    }
}

/// Nobody can decide; `passes` where the request is let through all the same.
fn failed(message: &str, passes: bool) -> Decision {
    let mut outcome = Outcome::default();
    let said = Said::new("", "", message);
    if passes {
        outcome.warnings.push(said);
    } else {
        outcome.refusals.push(said);
    }
    Decision::Failed(outcome)
}
