//! Who decides about a request: the components that are loaded.

use std::sync::Arc;
use std::time::Duration;

use dask_operator_core::parent::DaskKind;
use dask_operator_render::admission::{self, Chain, Decider, Outcome, Request, Said};
use dask_operator_runtime::contract::Operation;
use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

use super::dry_run::{self, Trial};
use super::review::{About, Question, Step};
use super::rivals;
use super::scale::{self, Scaled};
use crate::kinds::ExtraKinds;
use crate::plugins::{self, Labels, Plugins, Sources, Subject, Whose};
use crate::stores::Stores;

/// How long the stores may take to hear of what was made or changed a moment ago.
const CATCHING_UP: Duration = Duration::from_secs(1);

/// How often is looked whether they have.
const LOOK: Duration = Duration::from_millis(20);

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
    /// Whether mistakes are refused.
    pub strict: bool,
}

impl Deciders {
    /// Decides. Blocks.
    #[must_use]
    pub fn decide(&self, question: &Question) -> Decision {
        if self.is_unasked(question) {
            return Decision::Unasked;
        }
        match question.about {
            About::Dask(kind) => {
                let mut decision = self.ask(kind, question);
                if let Decision::Asked(outcome) = &mut decision
                    && kind == DaskKind::Autoscaler
                    && is_checked(question, outcome)
                {
                    self.rivals(question, outcome);
                }
                decision
            }
            About::Scale(kind) => match scale::update(&self.stores, kind, question) {
                Ok(scaled) => self.scaled(scaled),
                Err(why) => failed(&why, false),
            },
            About::Plugin | About::ClusterPlugin => {
                self.plugin(question, question.about == About::ClusterPlugin)
            }
        }
    }

    /// Whether nobody has to be asked.
    #[must_use]
    pub fn is_unasked(&self, question: &Question) -> bool {
        let is_own = || self.own_user.as_deref() == Some(question.user.as_str());
        match question.about {
            About::Dask(kind) => is_own() || admission::passes_unasked(&question.request(kind)),
            About::Scale(_) => is_own(),
            About::Plugin | About::ClusterPlugin => {
                let old = question.old.as_ref().map(|old| &old["spec"]);
                question.operation == Operation::Delete || old == Some(&question.object["spec"])
            }
        }
    }

    /// Whose components are asked about what is in a namespace.
    #[must_use]
    pub fn whose(&self, namespace: &str) -> Whose {
        if self.plugins.catalog().has_plugins_of(namespace) {
            Whose::Tenants
        } else {
            Whose::Operators
        }
    }

    /// Bytes of memory that a decision takes beside those of the question.
    #[must_use]
    pub fn bytes(&self, question: &Question) -> usize {
        match question.about {
            About::Scale(kind) => scale::bytes(&self.stores, kind, &question.object),
            _ => 0,
        }
    }

    /// What the API server is to be asked, after a decision. Blocks.
    #[must_use]
    pub fn trials(&self, question: &Question, decision: &Decision) -> Vec<Trial> {
        match (question.about, decision) {
            (About::Dask(kind), Decision::Asked(outcome)) if is_checked(question, outcome) => {
                dry_run::trials(kind, &question.object, question.old.as_ref())
            }
            _ => Vec::new(),
        }
    }

    /// Waits until the stores know what is to be scaled, for a while.
    pub async fn catch_up(&self, question: &Question, end: Instant) {
        let end = end.min(Instant::now() + CATCHING_UP);
        while self.is_behind(question) && Instant::now() < end {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Whether the stores do not know yet what is to be scaled.
    #[must_use]
    pub fn is_behind(&self, question: &Question) -> bool {
        match question.about {
            About::Scale(kind) => scale::is_behind(&self.stores, kind, &question.object),
            _ => false,
        }
    }

    /// Decides about other numbers of workers. Where they are fewer, what is just as wrong with more is a warning: who has too
    /// many can always go back. That somebody can't decide is no such wrong.
    fn scaled(&self, scaled: Scaled) -> Decision {
        let mut decision = self.decide(&scaled.question);
        if let Decision::Asked(outcome) = &mut decision
            && !outcome.is_allowed()
            && outcome.undecided == 0
            && scaled.is_fewer
            && let Decision::Asked(before) = self.decide(&scaled.reversed())
        {
            let refusals = std::mem::take(&mut outcome.refusals);
            let (known, new) = refusals
                .into_iter()
                .partition::<Vec<_>, _>(|said| before.refusals.contains(said));
            outcome.warnings.extend(known);
            outcome.refusals = new;
        }
        decision
    }

    fn rivals(&self, question: &Question, outcome: &mut Outcome) {
        let old = question.old.as_ref();
        if let Some(mistake) = rivals::mistake(&self.stores, &question.object, old) {
            // One that there is may be the one that stays.
            if self.strict && old.is_none() {
                outcome.refusals.push(mistake);
            } else {
                outcome.warnings.push(mistake);
            }
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
        let (plugin, policies) = match catalog.at_admission(&subject) {
            Ok(asked) => asked,
            Err(error) => {
                // A policy that nobody knows yet may be about labels, too. That things can be deleted counts for more.
                let passes = request.operation == Operation::Delete;
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
                extra_kinds: self.extra_kinds.of(plugin.is_of_tenant()).into(),
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

/// Whether a request is allowed so far, and something is to be said only once.
fn is_checked(question: &Question, outcome: &Outcome) -> bool {
    outcome.is_allowed() && question.step == Step::Validate && question.operation != Operation::Delete
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
        outcome.undecided = 1;
        outcome.refusals.push(said);
    }
    Decision::Failed(outcome)
}
