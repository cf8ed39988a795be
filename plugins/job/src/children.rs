//! The children of a job: its cluster, and the pod that runs its code.

use dask_operator_plugin::dask::metadata::{
    ANNOTATION_CLUSTER_REPLICAS, COMPONENT_RUNNER, LABEL_CLUSTER, LABEL_COMPONENT, Metadata,
};
use dask_operator_plugin::dask::resource::{self, Resource};
use dask_operator_plugin::dask::{address, environment, fields, kinds, names, termination_message};
use dask_operator_plugin::prelude::*;

use crate::Settings;

/// Builds the `DaskCluster` of a job (after defaulting). If the `existing` cluster was scaled, its number of workers stays.
pub(crate) fn cluster(job: &Resource<'_>, existing: Option<&Value>, settings: &Settings) -> DesiredChild {
    let cluster = &job.spec[fields::job::CLUSTER];
    let mut spec = cluster[fields::template::SPEC].clone();
    let wanted = resource::replicas(&spec[fields::cluster::WORKER]);
    spec[fields::cluster::WORKER][fields::worker::REPLICAS] =
        json!(resource::passed_on_replicas(wanted, existing));
    let mut metadata = Metadata::of(job.object, &settings.ignored())
        .below(Metadata::embedded(cluster.get(fields::template::METADATA)))
        .reserved(&[(LABEL_CLUSTER, job.name)]);
    metadata
        .annotations
        .insert(ANNOTATION_CLUSTER_REPLICAS.to_owned(), wanted.to_string());
    let object = resource::object(&metadata, spec);
    DesiredChild::apply(kinds::cluster().key(job.name), object)
}

/// Builds the runner pod of a job.
pub(crate) fn runner(job: &Resource<'_>, settings: &Settings) -> DesiredChild {
    let runner = &job.spec[fields::job::JOB];
    let metadata = Metadata::of(job.object, &settings.ignored())
        .below(Metadata::embedded(runner.get(fields::template::METADATA)))
        .without_sidecar()
        .reserved(&[(LABEL_CLUSTER, job.name), (LABEL_COMPONENT, COMPONENT_RUNNER)]);
    let domain = settings.cluster_domain.as_deref();
    let address = address::scheduler_address(
        job.name,
        job.namespace,
        &job.spec[fields::job::CLUSTER][fields::template::SPEC],
        domain,
    );
    let mut pod_spec = runner[fields::template::SPEC].clone();
    environment::inject(&mut pod_spec, &[(environment::SCHEDULER_ADDRESS, &address)]);
    termination_message::keep(&mut pod_spec);
    let object = resource::object(&metadata, pod_spec);
    DesiredChild::create(kinds::pod().key(names::runner(job.name)), object)
}
