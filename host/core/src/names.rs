//! Names that the operator reads and writes in objects of a cluster.

/// API group and version of the Dask resources.
pub const DASK_API_VERSION: &str = "kubernetes.dask.org/v1";

/// Label with the name of the `DaskCluster` that an object belongs to. Every child has it, and the operator's watches use it
/// as their label selector.
pub const LABEL_CLUSTER: &str = "dask.org/cluster-name";

/// Label with the name of the `DaskWorkerGroup` that a worker belongs to.
pub const LABEL_WORKER_GROUP: &str = "dask.org/workergroup-name";

/// Suffix that is appended to the name of a cluster for its scheduler's Pod and Service.
pub const SCHEDULER: &str = "-scheduler";

/// Suffix that is appended to the name of a cluster for its default worker group.
pub const DEFAULT_GROUP: &str = "-default";

/// Annotation with the hash of the object that was last applied.
pub const ANNOTATION_HASH: &str = "kubernetes.dask.org/last-applied-hash";

/// Field manager of every object that the operator applies.
pub const FIELD_MANAGER: &str = "dask-operator";

/// Finalizer that dask-kubernetes, the operator's predecessor, set on Dask resources. dask-kubernetes no longer
/// removes it, so the operator does.
pub const KOPF_FINALIZER: &str = "kopf.zalando.org/KopfFinalizerMarker";

/// Prefix of the annotations that dask-kubernetes, the operator's predecessor, set.
pub const KOPF_ANNOTATIONS: &str = "kopf.zalando.org/";
