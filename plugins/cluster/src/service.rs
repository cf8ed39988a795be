//! The Service in front of the scheduler.

use dask_operator_plugin::dask::metadata::{self, Metadata};
use dask_operator_plugin::dask::resource::{self, Resource};
use dask_operator_plugin::dask::{kinds, names};
use dask_operator_plugin::prelude::*;

/// What is known of the Service.
#[derive(Debug)]
pub(crate) struct Service {
    /// It exists and stays.
    pub(crate) exists: bool,
    /// Why nobody outside can reach it yet.
    pub(crate) unreachable: Option<String>,
    /// What shall become of it.
    pub(crate) child: DesiredChild,
}

impl Service {
    /// Looks at the Service of a cluster (after defaulting) and says what it shall be.
    pub(crate) fn of(
        observation: &Observation,
        cluster: &Resource<'_>,
        handed_down: &Metadata,
    ) -> Result<Self, Error> {
        let name = names::scheduler(cluster.name);
        let observed = observation.child(&kinds::service(), &name);
        let child = match observed {
            Some(observed) if observed.terminating => DesiredChild::keep(observed),
            _ => DesiredChild::apply(kinds::service().key(name), object(cluster, handed_down)),
        };
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

fn object(cluster: &Resource<'_>, handed_down: &Metadata) -> Value {
    let metadata = handed_down
        .clone()
        .reserved(&metadata::scheduler_labels(cluster.name));
    let mut spec = cluster.spec["scheduler"]["service"].clone();
    // An empty text is left to Kubernetes (`clusterIP: ""`). What it makes of it would look like a change.
    if let Some(spec) = spec.as_object_mut() {
        spec.retain(|_, value| *value != "");
    }
    resource::object(&metadata, spec)
}

/// Why a Service can't be reached: a load balancer has no address before somebody gave it one.
fn unreachable(service: &Value) -> Option<String> {
    let has_address = service
        .pointer("/status/loadBalancer/ingress")
        .and_then(Value::as_array)
        .is_some_and(|i| !i.is_empty());
    let waits = service["spec"]["type"] == "LoadBalancer" && !has_address;
    waits.then(|| "the load balancer of the Service has no address yet".to_owned())
}
