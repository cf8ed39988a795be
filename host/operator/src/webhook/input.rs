//! Input of the decision of an admission request. No I/O.

use dask_operator_core::parent::DaskKind;
use dask_operator_runtime::contract::Operation;
use serde_json::Value;

dask_operator_core::reasons! {
    /// Admission step, which corresponds to the type of the webhook configuration.
    pub(crate) enum Step {
        /// Mutation: defaulting, and changes by policies.
        Mutate => "mutate",
        /// Validation.
        Validate => "validate",
    }
}

dask_operator_core::reasons! {
    /// Operation of a request, as a word for metrics.
    pub(crate) enum OperationName {
        /// The object is created.
        Create => "create",
        /// The object is updated.
        Update => "update",
        /// The object is deleted.
        Delete => "delete",
        /// The number of workers is set.
        Scale => "scale",
    }
}

impl Step {
    /// Returns the step that is served at this path, or `None` if there is none.
    #[must_use]
    pub(crate) fn of_path(path: &str) -> Option<Self> {
        match path.trim_end_matches('/') {
            "/mutate" => Some(Self::Mutate),
            "/validate" => Some(Self::Validate),
            _ => None,
        }
    }
}

/// The type of object that a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A Dask resource, which components decide about.
    Dask(DaskKind),
    /// The number of workers of a Dask resource, as set by `kubectl scale`: see [`scale`](super::scale).
    Scale(DaskKind),
    /// A `DaskPlugin`.
    Plugin,
    /// A `ClusterDaskPlugin`.
    ClusterPlugin,
}

impl Target {
    const PLUGIN: &str = "DaskPlugin";
    const CLUSTER_PLUGIN: &str = "ClusterDaskPlugin";

    /// Returns the kinds of all objects that requests are about.
    pub(super) fn kinds() -> Vec<&'static str> {
        let of_dask = DaskKind::ALL.map(DaskKind::kind).into_iter();
        of_dask.chain([Self::PLUGIN, Self::CLUSTER_PLUGIN]).collect()
    }

    pub(super) fn of_kind(kind: &str) -> Option<Self> {
        match kind {
            Self::PLUGIN => Some(Self::Plugin),
            Self::CLUSTER_PLUGIN => Some(Self::ClusterPlugin),
            kind => DaskKind::from_kind(kind).map(Self::Dask),
        }
    }

    /// Returns the kind of the object, as in manifests.
    #[must_use]
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Dask(kind) | Self::Scale(kind) => kind.kind(),
            Self::Plugin => Self::PLUGIN,
            Self::ClusterPlugin => Self::CLUSTER_PLUGIN,
        }
    }
}

/// Input of the decision of an admission request.
#[derive(Debug)]
pub(crate) struct AdmissionInput {
    /// Admission step.
    pub(crate) step: Step,
    /// Type of the object.
    pub(crate) target: Target,
    /// Requested operation.
    pub(crate) operation: Operation,
    /// The new object, or the existing object for a deletion. Without `metadata.managedFields`. For a scale request, the value
    /// of [`reduced`](super::scale::reduced).
    pub(crate) object: Value,
    /// The object before an update. `None` for other operations and for scale requests.
    pub(crate) old: Option<Value>,
    /// Name of the user who sent the request.
    pub(crate) user: String,
    /// User information with groups, as JSON.
    pub(crate) user_info: String,
    /// True if the request is a dry run, which stores nothing.
    pub(crate) dry_run: bool,
}

impl AdmissionInput {
    /// Returns the name of the operation in metrics.
    #[must_use]
    pub(crate) fn operation_name(&self) -> &'static str {
        let name = match (self.target, self.operation) {
            (Target::Scale(_), _) => OperationName::Scale,
            (_, Operation::Create) => OperationName::Create,
            (_, Operation::Update) => OperationName::Update,
            (_, Operation::Delete) => OperationName::Delete,
        };
        name.as_str()
    }
}
