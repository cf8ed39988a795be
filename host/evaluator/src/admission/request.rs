//! Admission request.

use dask_operator_core::parent::DaskKind;
use dask_operator_runtime::contract::Operation;
use serde_json::Value;

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
