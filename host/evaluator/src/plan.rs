//! Plans, in four steps: the logic plugin plans, the gate checks its plan, the policies review it, and the gate checks it again.
//!
//! [`Evaluator::plan`] takes all steps. The operator takes them one by one, on different threads and with different permits. The
//! types of the results keep the order: an [`UncheckedPlan`] becomes [`FirstCheck`], and only a [`ReviewablePlan`], which has
//! passed the gate, can be reviewed.

mod error;
mod world;

use std::collections::HashSet;

use dask_operator_core::gate::{self, CheckedPlan};
use dask_operator_core::json::tree_bytes;
use dask_operator_core::parent::Parent;
use dask_operator_core::plan::ChildKey;
use dask_operator_runtime::contract::{ChildAction, DesiredChild, Error, Observation, Plan};

pub use error::PlanError;
pub use world::{ObservedState, World};

use crate::Evaluator;
use crate::convert;
use crate::review::{Remark, ReviewedChildren, review};

/// A plan as the logic plugin returned it.
#[derive(Debug)]
pub struct UncheckedPlan(Plan);

/// Result of the first check.
#[derive(Debug)]
pub enum FirstCheck {
    /// The plan needs no review.
    Passed(CheckedPlan),
    /// Policies must review the plan.
    ToReview(ReviewablePlan),
}

/// A plan that passed the gate, and that policies must review.
#[derive(Debug)]
pub struct ReviewablePlan(Plan);

/// A plan that the policies have reviewed.
#[derive(Debug)]
pub struct EvaluatedPlan {
    /// The plan as the gate passed it.
    pub checked: CheckedPlan,
    /// Remarks of the policies in monitor mode.
    pub remarks: Vec<Remark>,
}

/// The part of a plan that policies do not review, while they review its children.
#[derive(Debug)]
pub struct PlanInReview(Plan);

/// A plan after its review. The gate has not checked the changes of the policies yet.
#[derive(Debug)]
pub struct ReviewedPlan {
    plan: Plan,
    remarks: Vec<Remark>,
}

impl Evaluator {
    /// Plans, checks and reviews in all steps. The plan is checked against the state in `observation`. `max_bytes` limits the
    /// memory of the plan after parsing, in bytes.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no plan, if the plan is too large, if it violates a rule, or if a policy does not permit it.
    pub fn plan(
        &self,
        parent: &Parent,
        observation: &Observation,
        max_bytes: Option<usize>,
    ) -> Result<EvaluatedPlan, PlanError> {
        self.plan_and_inspect(parent, observation, max_bytes, |_| ())
    }

    /// Plans like [`Evaluator::plan`], and passes the plan in the form of the contract to `inspect` before each check by the
    /// gate. In the last call, the plan is as the policies left it.
    ///
    /// # Errors
    ///
    /// The same as those of [`Evaluator::plan`].
    pub fn plan_and_inspect(
        &self,
        parent: &Parent,
        observation: &Observation,
        max_bytes: Option<usize>,
        mut inspect: impl FnMut(&Plan),
    ) -> Result<EvaluatedPlan, PlanError> {
        let world = ObservedState::of(observation);
        let unchecked = self.call_logic(observation)?;
        within(unchecked.plan(), max_bytes)?;
        inspect(unchecked.plan());
        let reviewable = match unchecked.check(self, parent, &world)? {
            FirstCheck::Passed(checked) => {
                return Ok(EvaluatedPlan {
                    checked,
                    remarks: Vec::new(),
                });
            }
            FirstCheck::ToReview(reviewable) => reviewable,
        };
        let (in_review, children) = reviewable.into_review();
        let reviewed = review(
            &self.policies,
            parent.kind,
            &observation.parent,
            children,
            observation.now,
        )?;
        let reviewed = in_review.end(reviewed);
        within(reviewed.plan(), max_bytes)?;
        inspect(reviewed.plan());
        let (checked, remarks) = reviewed.check(self, parent, &world)?;
        Ok(EvaluatedPlan { checked, remarks })
    }

    /// Calls the logic plugin for a plan.
    ///
    /// # Errors
    ///
    /// Returns an error if the call fails, or if the plugin returns an error.
    pub fn call_logic(&self, observation: &Observation) -> Result<UncheckedPlan, PlanError> {
        let title = || self.logic.title.clone();
        match self.logic.logic.plan(observation) {
            Ok(Ok(plan)) => Ok(UncheckedPlan(plan)),
            Ok(Err(Error::Invalid(findings))) => Err(PlanError::Invalid(findings)),
            Ok(Err(Error::Failed(message))) => Err(PlanError::GaveUp {
                title: title(),
                message,
            }),
            Err(failure) => Err(PlanError::Call {
                title: title(),
                failure,
            }),
        }
    }

    fn check(
        &self,
        parent: &Parent,
        world: &impl World,
        by: impl FnOnce() -> String,
        plan: Plan,
    ) -> Result<CheckedPlan, PlanError> {
        gate::check(parent, &self.rules(), world, convert::plan(plan))
            .map_err(|refusal| PlanError::Refused { by: by(), refusal })
    }
}

impl UncheckedPlan {
    /// Returns the plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.0
    }

    /// Checks the plan with the gate. Policies review only plans that pass, so that they are not blamed for an error of the logic
    /// plugin, and only plans that write something.
    ///
    /// # Errors
    ///
    /// Returns an error if the plan violates a rule.
    pub fn check(
        self,
        evaluator: &Evaluator,
        parent: &Parent,
        world: &impl World,
    ) -> Result<FirstCheck, PlanError> {
        let by = || evaluator.logic.title.clone();
        if evaluator.policies.is_empty() || !writes(&self.0, world) {
            return Ok(FirstCheck::Passed(evaluator.check(parent, world, by, self.0)?));
        }
        evaluator.check(parent, world, by, self.0.clone())?;
        Ok(FirstCheck::ToReview(ReviewablePlan(self.0)))
    }
}

impl ReviewablePlan {
    /// Returns the children for [`review`], and the rest of the plan.
    #[must_use]
    pub fn into_review(mut self) -> (PlanInReview, Vec<DesiredChild>) {
        let children = std::mem::take(&mut self.0.children);
        (PlanInReview(self.0), children)
    }
}

impl PlanInReview {
    /// Returns the plan with the children as the policies left them.
    #[must_use]
    pub fn end(self, reviewed: ReviewedChildren) -> ReviewedPlan {
        ReviewedPlan {
            plan: Plan {
                children: reviewed.children,
                ..self.0
            },
            remarks: reviewed.remarks,
        }
    }
}

impl ReviewedPlan {
    /// Returns the plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Checks the plan with the gate. Also returns the remarks of the policies in monitor mode.
    ///
    /// # Errors
    ///
    /// Returns an error if the plan violates a rule after the changes of the policies.
    pub fn check(
        self,
        evaluator: &Evaluator,
        parent: &Parent,
        world: &impl World,
    ) -> Result<(CheckedPlan, Vec<Remark>), PlanError> {
        let checked = evaluator.check(parent, world, || evaluator.titles(), self.plan)?;
        Ok((checked, self.remarks))
    }
}

/// Checks the memory of a plan's children after parsing.
fn within(plan: &Plan, max_bytes: Option<usize>) -> Result<(), PlanError> {
    let bytes = |child: &DesiredChild| match &child.action {
        ChildAction::Keep | ChildAction::Copy(_) => 0,
        ChildAction::Create(object) | ChildAction::Apply(object) => tree_bytes(object),
    };
    match max_bytes {
        Some(max) => {
            let bytes = plan.children.iter().map(bytes).sum();
            if bytes > max {
                return Err(PlanError::TooLarge { bytes });
            }
            Ok(())
        }
        None => Ok(()),
    }
}

/// Returns whether a plan would write something: children to apply, children to create that do not exist, existing children that
/// are not in the plan, or changes other than children.
fn writes(plan: &Plan, world: &impl World) -> bool {
    let key = |child: &DesiredChild| convert::child_key(child.key.clone());
    let planned: HashSet<ChildKey> = plan.children.iter().map(key).collect();
    let changes = plan.children.iter().any(|child| match child.action {
        ChildAction::Keep => false,
        ChildAction::Create(_) | ChildAction::Copy(_) => !world.has_child(&key(child)),
        ChildAction::Apply(_) => true,
    });
    let deletes = || world.children().any(|key| !planned.contains(&key));
    changes || deletes() || !plan.scale.is_empty() || plan.delete_parent.is_some()
}

#[cfg(test)]
mod tests;
