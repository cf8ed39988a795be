//! Who is asked, and about what.

use std::borrow::Cow;
use std::sync::Arc;

use dask_operator_core::parent::DaskKind;
use dask_operator_core::plan::ResourceKind;
use dask_operator_runtime::contract::Operation;
use serde_json::Value;

use crate::logic::Logic;
use crate::policy::Policy;

/// A request at admission.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Which kind of resource.
    pub kind: DaskKind,
    /// What shall be done with it.
    pub operation: Operation,
    /// The resource as it shall be; for a deletion, as it is.
    pub object: &'a Value,
    /// The resource before an update.
    pub old: Option<&'a Value>,
    /// Who asks, a JSON object as in the contract.
    pub user_info: &'a str,
    /// Whether nothing will be stored.
    pub dry_run: bool,
}

impl<'a> Request<'a> {
    /// The resource before an update; none where it is no update.
    #[must_use]
    pub fn before(&self) -> Option<&'a Value> {
        self.old.filter(|_| self.operation == Operation::Update)
    }
}

/// All who are asked about a resource.
pub struct Chain<'a> {
    /// The logic of its kind.
    pub logic: Decider<'a>,
    /// The policies that apply to it, in the order in which they are asked.
    pub policies: Vec<Arc<Policy>>,
    /// Whether mistakes are refused, and not only said.
    pub strict: bool,
}

/// The logic of a kind.
pub struct Decider<'a> {
    /// What it is called in messages: its name, and perhaps version and digest.
    pub title: Cow<'a, str>,
    /// It.
    pub logic: &'a dyn Logic,
    /// Its settings, a JSON object.
    pub settings: Cow<'a, str>,
    /// The kinds of children that it declares.
    pub child_kinds: Cow<'a, [ResourceKind]>,
    /// Kinds of children that the administrator allows beyond the usual ones.
    pub extra_kinds: Cow<'a, [ResourceKind]>,
}
