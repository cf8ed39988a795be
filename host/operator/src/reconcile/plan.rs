//! Second step of a reconcile: calls the component and the policies, and checks their answers. Sends no requests.

mod memory;

use std::sync::Arc;

use dask_operator_core::gate::CheckedPlan;
use dask_operator_evaluator::plan::{FirstCheck, ReviewablePlan, ReviewedPlan, UncheckedPlan};
use dask_operator_evaluator::policy::Mode;

use crate::key::ParentKey;
use crate::plugins::Plugins;
use crate::reconcile::memory_budget::Reservation;
use crate::reconcile::observe::{PlanInput, PlanRequest};
use crate::reconcile::outcome::NoPlan;
use crate::reconcile::problem::Problem;
use crate::threads::blocking::BlockingThreads;
use memory::text_bytes;

/// A plan that passed the gate.
pub(crate) struct Planned {
    /// Input of the plan.
    pub(crate) input: Arc<PlanInput>,
    /// The plan.
    pub(crate) plan: CheckedPlan,
    /// Violations that policies in monitor mode reported.
    pub(crate) violations: Option<Problem>,
    /// Memory reserved for the plan until it has been applied.
    pub(crate) reservation: Reservation,
}

/// Result of the first check of a plan.
enum CheckOutcome<T> {
    /// The plan passed the gate. This is the result of the next step.
    Passed(T),
    /// The plan passed the gate, and policies must review it.
    ToReview(Box<ReviewablePlan>, Reservation),
}

/// Calls the components and policies that plan.
pub(crate) struct Planner {
    plugins: Arc<Plugins>,
    blocking: BlockingThreads,
}

impl Planner {
    /// Returns a planner that calls `plugins`, and checks their answers on the threads `blocking`.
    pub(crate) fn new(plugins: Arc<Plugins>, blocking: BlockingThreads) -> Self {
        Self { plugins, blocking }
    }

    /// Calls the component and the policies, and checks their answers. Passes the plan to `next` on the blocking thread of the
    /// last check, and returns the result.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no answer, if the plan violates a rule, or if a policy does not permit it.
    pub(crate) async fn plan_and<T: Send + 'static>(
        &self,
        key: &ParentKey,
        request: PlanRequest,
        next: impl FnOnce(Planned) -> T + Clone + Send + 'static,
    ) -> Result<T, NoPlan> {
        let PlanRequest {
            input,
            observation,
            mut reservation,
        } = request;
        let input = Arc::new(input);
        let parent = input.observed.parent.json.clone();
        let weight = reservation.weight(&parent);
        let plan = self
            .plugins
            .plan(&input.evaluator, &key.namespace, weight, observation)
            .await
            .map_err(Problem::plan)?;
        // The number of plans that wait for their check must be limited.
        let text = text_bytes(plan.plan());
        reservation.extend(text)?;
        let weight = reservation.weight(&parent);
        let check = {
            let (input, next) = (input.clone(), next.clone());
            move || input.check(plan, reservation, next)
        };
        let (reviewable, mut reservation) = match self.blocking.run(&key.namespace, weight, check).await? {
            CheckOutcome::Passed(done) => return Ok(done),
            CheckOutcome::ToReview(reviewable, reservation) => (reviewable, reservation),
        };
        // The JSON trees are dropped until the plan has passed the review.
        reservation.lend(text);
        let (in_review, children) = reviewable.into_review();
        let policies = input.evaluator.policies.clone();
        let reviewed = self
            .plugins
            .review(policies, key, weight, parent, children, input.now)
            .await;
        let plan = in_review.end(reviewed.map_err(Problem::review)?);
        let check = move || input.check_reviewed(plan, reservation, next);
        self.blocking.run(&key.namespace, weight, check).await
    }
}

impl PlanInput {
    /// Checks the plan of the component.
    fn check<T>(
        self: &Arc<Self>,
        plan: UncheckedPlan,
        mut reservation: Reservation,
        next: impl FnOnce(Planned) -> T,
    ) -> Result<CheckOutcome<T>, NoPlan> {
        let bytes = self.plan_bytes(plan.plan());
        reservation.extend(bytes)?;
        let checked = plan.check(&self.evaluator, &self.parent, &self.observed);
        let plan = match checked.map_err(Problem::plan)? {
            FirstCheck::ToReview(reviewable) => {
                return Ok(CheckOutcome::ToReview(Box::new(reviewable), reservation));
            }
            FirstCheck::Passed(plan) => plan,
        };
        // The observation has been dropped.
        reservation.reduce(bytes);
        let mut policies = self.evaluator.policies.iter();
        let monitors = policies.any(|policy| policy.mode == Mode::Monitor);
        let previous = || Problem::previous_violations(&self.observed.parent);
        Ok(CheckOutcome::Passed(next(Planned {
            input: self.clone(),
            plan,
            violations: monitors.then(previous).flatten(),
            reservation,
        })))
    }

    /// Checks the plan as the policies left it.
    fn check_reviewed<T>(
        self: &Arc<Self>,
        plan: ReviewedPlan,
        mut reservation: Reservation,
        next: impl FnOnce(Planned) -> T,
    ) -> Result<T, NoPlan> {
        let bytes = self.plan_bytes(plan.plan());
        reservation.extend(bytes)?;
        // The observation has been dropped.
        reservation.reduce(bytes);
        let checked = plan.check(&self.evaluator, &self.parent, &self.observed);
        let (plan, remarks) = checked.map_err(Problem::plan)?;
        Ok(next(Planned {
            input: self.clone(),
            plan,
            violations: Problem::violations(&remarks),
            reservation,
        }))
    }
}
