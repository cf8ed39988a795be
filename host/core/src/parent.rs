//! Dask resources as parents of child objects.

use serde_json::Value;
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::names::DASK_API_VERSION;

/// The four Dask resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DaskKind {
    /// `DaskCluster`
    Cluster,
    /// `DaskWorkerGroup`
    WorkerGroup,
    /// `DaskJob`
    Job,
    /// `DaskAutoscaler`
    Autoscaler,
}

impl DaskKind {
    /// All four kinds.
    pub const ALL: [Self; 4] = [Self::Cluster, Self::WorkerGroup, Self::Job, Self::Autoscaler];

    /// Returns the `kind` in manifests.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::Cluster => "DaskCluster",
            Self::WorkerGroup => "DaskWorkerGroup",
            Self::Job => "DaskJob",
            Self::Autoscaler => "DaskAutoscaler",
        }
    }

    /// Returns the plural name in the API server's paths.
    #[must_use]
    pub fn plural(self) -> &'static str {
        match self {
            Self::Cluster => "daskclusters",
            Self::WorkerGroup => "daskworkergroups",
            Self::Job => "daskjobs",
            Self::Autoscaler => "daskautoscalers",
        }
    }

    /// Returns the Dask resource whose `kind` is the given one, or `None` if there is none.
    #[must_use]
    pub fn from_kind(kind: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dask| dask.kind() == kind)
    }
}

/// The fields of a Dask resource that the host needs to check and finish its children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Kind of the Dask resource.
    pub kind: DaskKind,
    /// `metadata.name`
    pub name: String,
    /// `metadata.namespace`
    pub namespace: String,
    /// `metadata.uid`
    pub uid: String,
    /// Name of the `DaskCluster` that the children belong to: the resource itself, the one that `spec.cluster` names, or for a
    /// job the one with the job's name.
    pub cluster: String,
}

/// Error about an object that is not a Dask resource as the API server stores it.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ParentError {
    /// The object has another kind or API version.
    #[error(
        "{api_version} {kind} is no Dask resource: write {DASK_API_VERSION} and one of DaskCluster, DaskWorkerGroup, DaskJob, DaskAutoscaler"
    )]
    NotDask {
        /// `apiVersion`
        api_version: String,
        /// `kind`
        kind: String,
    },
    /// A field is missing, empty or not a string.
    #[error("{0} is missing or not a string")]
    Missing(&'static str),
}

impl Parent {
    /// Reads the fields from a whole object.
    ///
    /// # Errors
    ///
    /// Returns an error if the object is not one of the four resources, or has no name, namespace, uid or (worker groups and
    /// autoscalers) `spec.cluster`.
    pub fn from_object(object: &Value) -> Result<Self, ParentError> {
        let text = |pointer: &str, field: &'static str| {
            let value = object.pointer(pointer).and_then(Value::as_str);
            value
                .filter(|text| !text.is_empty())
                .ok_or(ParentError::Missing(field))
        };
        let api_version = text("/apiVersion", "apiVersion")?;
        let kind = text("/kind", "kind")?;
        let kind = DaskKind::from_kind(kind)
            .filter(|_| api_version == DASK_API_VERSION)
            .ok_or_else(|| ParentError::NotDask {
                api_version: api_version.into(),
                kind: kind.into(),
            })?;
        let name = text("/metadata/name", "metadata.name")?;
        let cluster = match kind {
            DaskKind::Cluster | DaskKind::Job => name,
            DaskKind::WorkerGroup | DaskKind::Autoscaler => text("/spec/cluster", "spec.cluster")?,
        };
        Ok(Self {
            kind,
            name: name.to_owned(),
            namespace: text("/metadata/namespace", "metadata.namespace")?.to_owned(),
            uid: text("/metadata/uid", "metadata.uid")?.to_owned(),
            cluster: cluster.to_owned(),
        })
    }

    /// Returns a number that is derived from the uid and therefore stays the same across restarts of the operator.
    #[must_use]
    pub fn seed(&self) -> u64 {
        seed(&self.uid)
    }
}

/// Returns the number for a uid: the first eight bytes of its SHA-256.
#[must_use]
pub fn seed(uid: &str) -> u64 {
    let digest = Sha256::digest(uid);
    digest
        .iter()
        .take(8)
        .fold(0, |seed, byte| (seed << 8) | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case::cluster("DaskCluster", json!({}), "a")]
    #[case::group("DaskWorkerGroup", json!({"cluster": "b"}), "b")]
    #[case::job("DaskJob", json!({}), "a")]
    #[case::autoscaler("DaskAutoscaler", json!({"cluster": "b"}), "b")]
    fn the_cluster_of_the_children_is_found(#[case] kind: &str, #[case] spec: Value, #[case] cluster: &str) {
        let object = json!({
            "apiVersion": DASK_API_VERSION, "kind": kind, "spec": spec,
            "metadata": {"name": "a", "namespace": "n", "uid": "u"},
        });
        assert_eq!(
            Parent::from_object(&object).map(|parent| parent.cluster),
            Ok(cluster.into())
        );
    }

    #[rstest]
    #[case::kind(json!({"apiVersion": "v1", "kind": "Pod"}), "v1 Pod is no Dask resource")]
    #[case::name(json!({"apiVersion": DASK_API_VERSION, "kind": "DaskJob"}), "metadata.name is missing")]
    #[case::cluster(
        json!({"apiVersion": DASK_API_VERSION, "kind": "DaskWorkerGroup", "metadata": {"name": "a"}}),
        "spec.cluster is missing"
    )]
    fn rejects_other_objects(#[case] object: Value, #[case] message: &str) {
        let error = Parent::from_object(&object).map_err(|error| error.to_string());
        assert!(
            error.as_ref().is_err_and(|text| text.contains(message)),
            "{error:?}"
        );
    }

    #[test]
    fn the_seed_of_a_uid_never_changes() {
        assert_eq!(seed("u"), 0x0bfe_935e_70c3_21c7);
        assert_ne!(seed("u"), seed("v"));
    }
}
