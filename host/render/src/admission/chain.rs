//! Input of the admission decision: the request, and the plugins to call.

use std::borrow::Cow;
use std::sync::Arc;

use dask_operator_core::parent::DaskKind;
use dask_operator_core::plan::ResourceKind;
use dask_operator_runtime::contract::Operation;
use serde_json::Value;

use crate::logic::Logic;
use crate::policy::Policy;

/// An admission request.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The kind of the resource.
    pub kind: DaskKind,
    /// The requested operation.
    pub operation: Operation,
    /// The new state of the resource; for a deletion, its current state.
    pub object: &'a Value,
    /// The state of the resource before the request; `None` if there is none.
    pub old: Option<&'a Value>,
    /// The user who sent the request, a JSON object as in the contract.
    pub user_info: &'a str,
    /// True for a dry run, which stores nothing.
    pub dry_run: bool,
}

impl<'a> Request<'a> {
    /// Returns the state of the resource before an update; `None` for other operations.
    #[must_use]
    pub fn before(&self) -> Option<&'a Value> {
        self.old.filter(|_| self.operation == Operation::Update)
    }
}

/// The plugins to call for a resource.
pub struct Chain<'a> {
    /// The logic plugin of its kind.
    pub logic: Decider<'a>,
    /// The policies that apply to the resource, in the order in which they are called.
    pub policies: Vec<Arc<Policy>>,
    /// True if mistakes are refused, false if they are only reported.
    pub strict: bool,
}

/// The logic plugin of a kind, with its configuration.
pub struct Decider<'a> {
    /// Name of the plugin in messages. It may include version and digest.
    pub title: Cow<'a, str>,
    /// The implementation.
    pub logic: &'a dyn Logic,
    /// The settings of the plugin, a JSON object.
    pub settings: Cow<'a, str>,
    /// The kinds of children that the plugin declares.
    pub child_kinds: Cow<'a, [ResourceKind]>,
    /// Kinds of children that the administrator allows in addition to the default ones.
    pub extra_kinds: Cow<'a, [ResourceKind]>,
}
