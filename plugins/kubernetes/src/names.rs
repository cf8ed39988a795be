//! Labels, annotations and other names that the operator reads and writes in objects.

/// API group and version of the Dask resources.
pub const DASK_API_VERSION: &str = "kubernetes.dask.org/v1";

/// Label with the name of the `DaskCluster` that an object belongs to. Every child has it, and the operator's watches use it
/// as their label selector.
pub const LABEL_CLUSTER: &str = "dask.org/cluster-name";

/// Label with the name of the `DaskWorkerGroup` that a worker belongs to.
pub const LABEL_WORKER_GROUP: &str = "dask.org/workergroup-name";

/// Label with the component that an object is, such as [`COMPONENT_SCHEDULER`].
pub const LABEL_COMPONENT: &str = "dask.org/component";

/// Value of [`LABEL_COMPONENT`]: the Pod, Deployment or Service of a scheduler.
pub const COMPONENT_SCHEDULER: &str = "scheduler";

/// Value of [`LABEL_COMPONENT`]: the Pod or Deployment of a worker.
pub const COMPONENT_WORKER: &str = "worker";

/// Value of [`LABEL_COMPONENT`]: a default worker group.
pub const COMPONENT_WORKER_GROUP: &str = "workergroup";

/// Value of [`LABEL_COMPONENT`]: the Pod that runs a job's code.
pub const COMPONENT_RUNNER: &str = "job-runner";

/// Suffix that is appended to the name of a cluster for its scheduler's Pod and Service.
pub const SCHEDULER: &str = "-scheduler";

/// Suffix that is appended to the name of a cluster for its default worker group.
pub const DEFAULT_GROUP: &str = "-default";

/// Suffix that is appended to the name of a job for the Pod that runs its code.
pub const RUNNER: &str = "-runner";

/// Prefix of the operator's own annotations.
pub const ANNOTATION_PREFIX: &str = "kubernetes.dask.org/";

/// Annotation with the hash of the object that was last applied.
pub const ANNOTATION_HASH: &str = "kubernetes.dask.org/last-applied-hash";

/// Annotation of a default worker group, and of a job's cluster: the number of workers that was last passed on from the
/// owner.
pub const ANNOTATION_CLUSTER_REPLICAS: &str = "kubernetes.dask.org/cluster-replicas";

/// Annotation of a worker that is being retired, with the start time (RFC 3339). Its data is moved to other workers, then
/// the worker is deleted. It does not count as a replica.
pub const ANNOTATION_RETIRING_SINCE: &str = "kubernetes.dask.org/retiring-since";

/// Annotation of a scheduler or worker: a hash of its template, for detecting changes.
pub const ANNOTATION_TEMPLATE_HASH: &str = "kubernetes.dask.org/template-hash";

/// Annotation of a worker group or a cluster with a time (RFC 3339): workers that were created before it are replaced.
pub const ANNOTATION_RESTARTED_AT: &str = "kubernetes.dask.org/restarted-at";

/// Annotation of an autoscaler with the time until which nothing is scaled, in seconds since 1970, with a fraction.
/// dask-kubernetes, the operator's predecessor, writes it after each change. This operator only reads it.
pub const ANNOTATION_COOLDOWN_UNTIL: &str = "kubernetes.dask.org/cooldown-until";

/// Field manager of every object that the operator applies.
pub const FIELD_MANAGER: &str = "dask-operator";

/// Finalizer that dask-kubernetes, the operator's predecessor, set on Dask resources. dask-kubernetes no longer
/// removes it, so the operator does.
pub const KOPF_FINALIZER: &str = "kopf.zalando.org/KopfFinalizerMarker";

/// Prefix of the annotations that dask-kubernetes, the operator's predecessor, set.
pub const KOPF_ANNOTATIONS: &str = "kopf.zalando.org/";
