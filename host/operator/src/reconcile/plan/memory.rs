//! Memory demand of a plan. Pure.

use std::collections::BTreeSet;

use dask_operator_core::json::tree_bytes;
use dask_operator_evaluator::convert;
use dask_operator_runtime::contract::{self, ChildAction, Plan};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::reconcile::observe::PlanInput;

impl PlanInput {
    /// Returns the memory that a plan and its checks take, in bytes. Of an object to create, `metadata` becomes a JSON tree,
    /// and so does that of the template for its copies. An object to apply becomes a tree as a whole, and is compared with the
    /// tree of the existing object.
    pub(crate) fn plan_bytes(&self, plan: &Plan) -> usize {
        let bytes = |child: &contract::DesiredChild| match &child.action {
            ChildAction::Keep | ChildAction::Copy(_) => 0,
            ChildAction::Create(text) => text.len() + metadata_bytes(text),
            ChildAction::Apply(text) => {
                let there = self.observed.child(&convert::child_key(child.key.clone()));
                tree_bytes(text) + there.map_or(0, |there| tree_bytes(&*there.json))
            }
        };
        let templates = originals(plan).map(bytes).sum::<usize>();
        plan.children.iter().map(bytes).sum::<usize>() + templates + self.observed.scheduler_bytes()
    }
}

/// Returns the bytes of text of a plan's children.
pub(crate) fn text_bytes(plan: &Plan) -> usize {
    let text = |child: &contract::DesiredChild| match &child.action {
        ChildAction::Keep | ChildAction::Copy(_) => 0,
        ChildAction::Create(text) | ChildAction::Apply(text) => text.len(),
    };
    plan.children.iter().map(text).sum()
}

/// Returns the children of a plan that other children copy.
fn originals(plan: &Plan) -> impl Iterator<Item = &contract::DesiredChild> {
    let copied = plan.children.iter().filter_map(|child| match child.action {
        ChildAction::Copy(original) => Some(original as usize),
        ChildAction::Keep | ChildAction::Create(_) | ChildAction::Apply(_) => None,
    });
    let copied: BTreeSet<usize> = copied.collect();
    copied
        .into_iter()
        .filter_map(|original| plan.children.get(original))
}

/// Returns the memory of the JSON tree of an object's `metadata`, in bytes.
fn metadata_bytes(text: &str) -> usize {
    #[derive(Deserialize)]
    struct Created<'a> {
        #[serde(borrow)]
        metadata: Option<&'a RawValue>,
    }
    match serde_json::from_str::<Created<'_>>(text) {
        Ok(created) => created.metadata.map_or(0, |metadata| tree_bytes(metadata.get())),
        // The gate reports the error.
        Err(_) => tree_bytes(text),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::none("{}", 0)]
    #[case::no_json("[", tree_bytes("["))]
    #[case::others(
        r#"{"spec": {"a": [{}, {}]}, "metadata": {"name": "p"}}"#,
        tree_bytes(r#"{"name": "p"}"#)
    )]
    fn only_the_metadata_of_created_objects_counts_as_a_tree(#[case] text: &str, #[case] expected: usize) {
        assert_eq!(metadata_bytes(text), expected);
    }
}
