//! Names of the fields in the specs of Dask resources that the default components read and write, and the values of those
//! that are enumerated.
//!
//! `host/api` defines the same fields as Rust types, and the CRDs follow from them. The SDK does not depend on that crate,
//! because it would make plugins larger. Instead, a test compares [`ALL`] with the CRDs.

/// An object in a spec.
#[derive(Debug, Clone, Copy)]
pub struct Object {
    /// The places of the object: the kind of the resource, and the path in it, such as `spec.worker`.
    pub places: &'static [(&'static str, &'static str)],
    /// The fields of the object.
    pub fields: &'static [Field],
}

/// A field of an [`Object`].
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// The name.
    pub name: &'static str,
    /// Values that the default components distinguish. Empty if the field is not enumerated.
    pub values: &'static [&'static str],
}

macro_rules! objects {
    ($(
        $(#[$doc:meta])*
        $object:ident at $places:tt {
            $( $field:ident = $name:literal $(of { $( $value:ident = $text:literal ),+ })? ),+ $(,)?
        }
    )+) => {
        $(
            $(#[$doc])*
            pub mod $object {
                $(
                    #[doc = concat!("The field `", $name, "`.")]
                    pub const $field: &str = $name;
                    $($(
                        #[doc = concat!("A value of `", $name, "`.")]
                        pub const $value: &str = $text;
                    )+)?
                )+
            }
        )+

        /// All fields, for the test against the CRDs.
        pub const ALL: &[Object] = &[
            $( Object {
                places: &$places,
                fields: &[ $( Field { name: $name, values: &[ $($( $text ),+)? ] } ),+ ],
            } ),+
        ];
    };
}

objects! {
    /// The `spec` of a cluster.
    cluster at [("DaskCluster", "spec"), ("DaskJob", "spec.cluster.spec")] {
        WORKER = "worker",
        SCHEDULER = "scheduler",
        SUSPEND = "suspend",
        IDLE_TIMEOUT = "idleTimeout",
        SCHEDULER_UPDATE = "schedulerUpdate" of { RECREATE = "Recreate" },
    }

    /// The scheduler of a cluster, besides its [`template`].
    scheduler at [("DaskCluster", "spec.scheduler"), ("DaskJob", "spec.cluster.spec.scheduler")] {
        SERVICE = "service",
    }

    /// The workers of a cluster or a group, besides their [`template`].
    worker at [
        ("DaskCluster", "spec.worker"),
        ("DaskWorkerGroup", "spec.worker"),
        ("DaskJob", "spec.cluster.spec.worker"),
    ] {
        REPLICAS = "replicas",
        SCALE_DOWN = "scaleDown" of { DRAIN = "drain", UNSAFE = "unsafe" },
        DRAIN_TIMEOUT = "drainTimeoutSeconds",
        UPDATE_STRATEGY = "updateStrategy",
    }

    /// The update strategy of workers.
    update_strategy at [
        ("DaskCluster", "spec.worker.updateStrategy"),
        ("DaskWorkerGroup", "spec.worker.updateStrategy"),
    ] {
        TYPE = "type" of { ROLLING_UPDATE = "RollingUpdate", ON_DELETE = "OnDelete" },
        MAX_SURGE = "maxSurge",
        MAX_UNAVAILABLE = "maxUnavailable",
    }

    /// A template: of pods, or of a job's cluster.
    template at [
        ("DaskCluster", "spec.worker"),
        ("DaskCluster", "spec.scheduler"),
        ("DaskWorkerGroup", "spec.worker"),
        ("DaskJob", "spec.job"),
        ("DaskJob", "spec.cluster"),
    ] {
        METADATA = "metadata",
        SPEC = "spec",
    }

    /// The `spec` of a worker group.
    worker_group at [("DaskWorkerGroup", "spec")] {
        CLUSTER = "cluster",
        WORKER = "worker",
    }

    /// The `spec` of a job.
    job at [("DaskJob", "spec")] {
        CLUSTER = "cluster",
        JOB = "job",
        SUSPEND = "suspend",
        BACKOFF_LIMIT = "backoffLimit",
        ACTIVE_DEADLINE = "activeDeadlineSeconds",
        TTL_AFTER_FINISHED = "ttlSecondsAfterFinished",
        WAIT_FOR_WORKERS = "waitForWorkers",
        DELETION_POLICY = "deletionPolicy" of { ON_SUCCESS = "OnSuccess" },
    }

    /// The `spec` of an autoscaler.
    autoscaler at [("DaskAutoscaler", "spec")] {
        CLUSTER = "cluster",
        WORKER_GROUP = "workerGroup",
        MINIMUM = "minimum",
        MAXIMUM = "maximum",
        TARGET_DURATION = "targetDurationSeconds",
        SCALE_UP = "scaleUp",
        SCALE_DOWN = "scaleDown",
    }

    /// The pace at which an autoscaler adds or removes workers.
    pace at [("DaskAutoscaler", "spec.scaleUp"), ("DaskAutoscaler", "spec.scaleDown")] {
        STEP = "step",
        WINDOW = "windowSeconds",
        PERIOD = "periodSeconds",
    }
}
