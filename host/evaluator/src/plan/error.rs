//! Reasons why there is no plan.

use dask_operator_core::gate::Refusal;
use dask_operator_runtime::contract::Finding;
use thiserror::Error;

use crate::findings::to_text;
use crate::logic::PluginFailure;
use crate::review::ReviewError;

/// Reason why there is no plan. Nothing is written.
#[derive(Debug, Error)]
pub enum PlanError {
    /// The call of the logic plugin failed.
    #[error("{title}: {failure}")]
    Call {
        /// Name of the plugin.
        title: String,
        /// The error of the call.
        failure: PluginFailure,
    },
    /// The logic plugin found errors in the resource.
    #[error("{}", to_text(.0))]
    Invalid(Vec<Finding>),
    /// The logic plugin reported that it can't plan.
    #[error("{title}: {message}")]
    GaveUp {
        /// Name of the plugin.
        title: String,
        /// The reason that the plugin gave.
        message: String,
    },
    /// The plan exceeds the memory limit of the caller.
    #[error("the plan takes {} MiB of memory", .bytes >> 20)]
    TooLarge {
        /// Memory of the plan after parsing, in bytes.
        bytes: usize,
    },
    /// The gate refused the plan.
    #[error("{by}: {refusal}")]
    Refused {
        /// Name of the logic plugin, and of the policies that may have changed its plan.
        by: String,
        /// The rules that the plan violates.
        refusal: Refusal,
    },
    /// A policy did not permit the plan.
    #[error(transparent)]
    Review(#[from] ReviewError),
}
