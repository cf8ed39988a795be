//! The Service in front of the scheduler.

use dask_operator_plugin::dask::metadata::{self, Metadata};
use dask_operator_plugin::dask::resource::{self, Resource};
use dask_operator_plugin::dask::{fields, kinds, names};
use dask_operator_plugin::prelude::*;

/// The state of the Service, and the desired one.
#[derive(Debug)]
pub(crate) struct Service {
    /// True if it exists and is not being deleted.
    pub(crate) exists: bool,
    /// The reason why clients can't reach it yet. `None` if they can.
    pub(crate) unreachable: Option<String>,
    /// The desired Service.
    pub(crate) child: DesiredChild,
}

impl Service {
    /// Reads the Service of a cluster (after defaulting) and builds the desired one.
    pub(crate) fn of(
        observation: &Observation,
        cluster: &Resource<'_>,
        inherited: &Metadata,
    ) -> Result<Self, Error> {
        let name = names::scheduler(cluster.name);
        let observed = observation.child(&kinds::service(), &name);
        let child = DesiredChild::apply_unless_terminating(
            observed,
            kinds::service().key(name),
            object(cluster, inherited),
        );
        let exists = observed.is_some_and(|observed| !observed.terminating);
        let unreachable = match observed {
            None => Some("the Service does not exist yet".to_owned()),
            Some(observed) => unreachable(&observed.read()?),
        };
        Ok(Self {
            exists,
            unreachable,
            child,
        })
    }
}

fn object(cluster: &Resource<'_>, inherited: &Metadata) -> Value {
    let metadata = inherited
        .clone()
        .reserved(&metadata::scheduler_labels(cluster.name));
    let mut spec = cluster.spec[fields::cluster::SCHEDULER][fields::scheduler::SERVICE].clone();
    // Kubernetes replaces empty texts (`clusterIP: ""`) with values of its own, which would look like changes.
    if let Some(spec) = spec.as_object_mut() {
        spec.retain(|_, value| *value != "");
    }
    resource::object(&metadata, spec)
}

/// Returns the reason why a Service can't be reached: a load balancer that has no address yet.
fn unreachable(service: &Value) -> Option<String> {
    let has_address = service
        .pointer("/status/loadBalancer/ingress")
        .and_then(Value::as_array)
        .is_some_and(|i| !i.is_empty());
    let waits = service["spec"]["type"] == "LoadBalancer" && !has_address;
    waits.then(|| "the load balancer of the Service has no address yet".to_owned())
}
