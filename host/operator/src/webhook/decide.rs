//! Decision of a request by the loaded components. Reads the informer cache; no other I/O.

use std::sync::Arc;
use std::time::Duration;

use dask_operator_core::parent::DaskKind;
use dask_operator_evaluator::Evaluator;
use dask_operator_evaluator::admission::{self, AdmissionFinding, AdmissionOutcome, Request};
use dask_operator_evaluator::logic::PluginOwner;
use dask_operator_runtime::contract::Operation;
use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

use super::autoscaler_conflict;
use super::dry_run::{self, DryRunRequest};
use super::input::{AdmissionInput, Step, Target};
use super::scale::{self, Scaled};
use crate::cache::Stores;
use crate::plugins::{self, Plugins, Sources, Subject};
use crate::selection::Labels;

/// Maximum wait for the informer cache to receive a recent change.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(1);

/// Interval at which the informer cache is checked for the change.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Decision of a request.
#[derive(Debug)]
pub(crate) enum Decision {
    /// The request is admitted without a call of any component.
    Skipped,
    /// The components decided.
    Decided(AdmissionOutcome),
    /// The components that must decide can't be called. The outcome contains the reason.
    Failed(AdmissionOutcome),
}

/// Everything that decisions depend on: the components, the informer cache and the configuration.
pub(crate) struct Decider {
    /// The loaded components.
    pub(crate) plugins: Arc<Plugins>,
    /// Sources that plugins may be loaded from.
    pub(crate) sources: Sources,
    /// Informer cache.
    pub(crate) stores: Stores,
    /// User name of the operator itself, whose own requests are admitted without a decision. `None` if it is unknown.
    pub(crate) own_user: Option<String>,
    /// True if mistakes are refused, false if they are warnings.
    pub(crate) strict: bool,
}

impl Decider {
    /// Decides a request. Blocks.
    #[must_use]
    pub(crate) fn decide(&self, input: &AdmissionInput) -> Decision {
        if self.is_skipped(input) {
            return Decision::Skipped;
        }
        match input.target {
            Target::Dask(kind) => {
                let mut decision = self.decide_dask(kind, input);
                if let Decision::Decided(outcome) = &mut decision
                    && kind == DaskKind::Autoscaler
                    && gets_final_checks(input, outcome)
                {
                    self.add_autoscaler_conflict(input, outcome);
                }
                decision
            }
            Target::Scale(kind) => match scale::update(&self.stores, kind, input) {
                Ok(scaled) => self.decide_scaled(scaled),
                Err(message) => failed(&message, false),
            },
            Target::Plugin | Target::ClusterPlugin => {
                self.decide_plugin(input, input.target == Target::ClusterPlugin)
            }
        }
    }

    /// Returns whether the request is admitted without a call of any component.
    #[must_use]
    pub(crate) fn is_skipped(&self, input: &AdmissionInput) -> bool {
        let is_own = || self.own_user.as_deref() == Some(input.user.as_str());
        match input.target {
            Target::Dask(kind) => is_own() || admission::skips_plugins(&input.request(kind)),
            Target::Scale(_) => is_own(),
            Target::Plugin | Target::ClusterPlugin => {
                let old = input.old.as_ref().map(|old| &old["spec"]);
                input.operation == Operation::Delete || old == Some(&input.object["spec"])
            }
        }
    }

    /// Returns whether requests in a namespace are decided by plugins of its tenants, or only by those of the operator.
    #[must_use]
    pub(crate) fn owner(&self, namespace: &str) -> PluginOwner {
        if self.plugins.catalog().has_plugins_of(namespace) {
            PluginOwner::Tenant
        } else {
            PluginOwner::Administrator
        }
    }

    /// Returns the bytes of text that a decision parses in addition to the request.
    #[must_use]
    pub(crate) fn text_bytes(&self, input: &AdmissionInput) -> usize {
        match input.target {
            Target::Scale(kind) => scale::text_bytes(&self.stores, kind, &input.object),
            _ => 0,
        }
    }

    /// Returns the bytes of memory that a decision takes in addition to the request.
    #[must_use]
    pub(crate) fn bytes(&self, input: &AdmissionInput) -> usize {
        match input.target {
            Target::Scale(kind) => scale::bytes(&self.stores, kind, &input.object),
            _ => 0,
        }
    }

    /// Returns the dry runs to send after a decision. Blocks.
    #[must_use]
    pub(crate) fn dry_runs(&self, input: &AdmissionInput, decision: &Decision) -> Vec<DryRunRequest> {
        match (input.target, decision) {
            (Target::Dask(kind), Decision::Decided(outcome)) if gets_final_checks(input, outcome) => {
                dry_run::requests(kind, &input.object, input.old.as_ref())
            }
            _ => Vec::new(),
        }
    }

    /// Waits until the informer cache has the resource that is scaled, or until a time limit or `end`.
    pub(crate) async fn catch_up(&self, input: &AdmissionInput, end: Instant) {
        let end = end.min(Instant::now() + CATCH_UP_TIMEOUT);
        while self.is_behind(input) && Instant::now() < end {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Returns whether the informer cache does not have the current version of the resource that is scaled.
    #[must_use]
    pub(crate) fn is_behind(&self, input: &AdmissionInput) -> bool {
        match input.target {
            Target::Scale(kind) => scale::is_behind(&self.stores, kind, &input.object),
            _ => false,
        }
    }

    /// Decides a change of the number of workers. For a scale-down, a refusal that applies to the larger number as well becomes a
    /// warning, so that users with too many workers can always reduce them. This does not hold if a component could not decide.
    fn decide_scaled(&self, scaled: Scaled) -> Decision {
        let mut decision = self.decide(&scaled.input);
        if let Decision::Decided(outcome) = &mut decision
            && !outcome.is_allowed()
            && outcome.undecided == 0
            && scaled.is_fewer
            && let Decision::Decided(before) = self.decide(&scaled.reversed())
        {
            let refusals = std::mem::take(&mut outcome.refusals);
            let (known, new) = refusals
                .into_iter()
                .partition::<Vec<_>, _>(|refusal| before.refusals.contains(refusal));
            outcome.warnings.extend(known);
            outcome.refusals = new;
        }
        decision
    }

    /// Adds a mistake if another autoscaler scales the same worker group.
    fn add_autoscaler_conflict(&self, input: &AdmissionInput, outcome: &mut AdmissionOutcome) {
        let old = input.old.as_ref();
        if let Some(mistake) = autoscaler_conflict::find(&self.stores, &input.object, old) {
            // An autoscaler that exists already may be the oldest one, which stays active, so an update only gets a warning.
            if self.strict && old.is_none() {
                outcome.refusals.push(mistake);
            } else {
                outcome.warnings.push(mistake);
            }
        }
    }

    /// Decides a request for a plugin: whether it could become active, as far as that is known without its code, or with its
    /// code if it is already loaded.
    fn decide_plugin(&self, input: &AdmissionInput, of_cluster: bool) -> Decision {
        let catalog = self.plugins.catalog();
        let remarks = plugins::check(&self.sources, &catalog, &input.object, of_cluster);
        let mut outcome = AdmissionOutcome::default();
        let finding = |(field, message): (String, String)| AdmissionFinding::new("", &field, message);
        outcome.refusals.extend(remarks.refusals.into_iter().map(finding));
        outcome.warnings.extend(remarks.warnings.into_iter().map(finding));
        Decision::Decided(outcome)
    }

    /// Decides a request for a Dask resource with its logic plugin and the policies.
    fn decide_dask(&self, kind: DaskKind, input: &AdmissionInput) -> Decision {
        let request = input.request(kind);
        let labels = &input.object["metadata"]["labels"];
        let labels: Labels = serde_json::from_value(labels.clone()).unwrap_or_default();
        let subject = Subject {
            kind,
            namespace: input.object["metadata"]["namespace"].as_str().unwrap_or_default(),
            labels: &labels,
        };
        let evaluator = match self.plugins.evaluator_at_admission(&subject) {
            Ok(evaluator) => evaluator,
            Err(error) => {
                // A policy that is not known yet may be about labels too, so all requests but deletions are refused.
                let passes = request.operation == Operation::Delete;
                let message = format!("this can't be checked: {error}");
                return failed(&message, passes);
            }
        };
        let evaluator = Evaluator {
            strict: self.strict,
            ..evaluator
        };
        Decision::Decided(match input.step {
            Step::Mutate => admission::mutate(&evaluator, &request),
            Step::Validate => admission::validate(&evaluator, &request, Timestamp::now().as_millisecond()),
        })
    }
}

/// Returns whether a request gets the checks that run once per request, after the components: it is allowed so far, is no
/// deletion, and is at the validation step.
fn gets_final_checks(input: &AdmissionInput, outcome: &AdmissionOutcome) -> bool {
    outcome.is_allowed() && input.step == Step::Validate && input.operation != Operation::Delete
}

impl AdmissionInput {
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

/// Returns the decision for a request that can't be decided. The request is admitted with a warning if `passes` is true.
fn failed(message: &str, passes: bool) -> Decision {
    let mut outcome = AdmissionOutcome::default();
    let finding = AdmissionFinding::new("", "", message);
    if passes {
        outcome.warnings.push(finding);
    } else {
        outcome.undecided = 1;
        outcome.refusals.push(finding);
    }
    Decision::Failed(outcome)
}
