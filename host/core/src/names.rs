//! Names that this project writes into objects of a cluster.

/// API group and version of the Dask resources.
pub const DASK_API_VERSION: &str = "kubernetes.dask.org/v1";

/// Label with the name of the `DaskCluster` that an object belongs to. Every
/// child has it; it is also what the operator's watches select by.
pub const LABEL_CLUSTER: &str = "dask.org/cluster-name";

/// Label with the name of the `DaskWorkerGroup` that a worker belongs to.
pub const LABEL_WORKER_GROUP: &str = "dask.org/workergroup-name";

/// What is appended to the name of a cluster for its scheduler's Pod and Service.
pub const SCHEDULER: &str = "-scheduler";

/// What is appended to the name of a cluster for its default worker group.
pub const DEFAULT_GROUP: &str = "-default";

/// Annotation with the hash of the object that was last applied.
pub const ANNOTATION_HASH: &str = "kubernetes.dask.org/last-applied-hash";

/// The field manager of everything that the operator applies.
pub const FIELD_MANAGER: &str = "dask-operator";

/// The finalizer that the operator's predecessor put on Dask resources. Nobody
/// takes it off any more.
pub const KOPF_FINALIZER: &str = "kopf.zalando.org/KopfFinalizerMarker";

/// What the predecessor's annotations start with.
pub const KOPF_ANNOTATIONS: &str = "kopf.zalando.org/";
