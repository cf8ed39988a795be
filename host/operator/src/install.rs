//! Installs the definitions of the Dask resources.

use std::time::Duration;

use anyhow::Context;
use dask_operator_core::names::FIELD_MANAGER;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, ResourceExt};
use tracing::info;

/// How long the API server may take to serve them.
const ESTABLISHED: Duration = Duration::from_secs(30);

/// Applies all CRDs and waits until the API server serves them.
///
/// # Errors
///
/// When one is refused, or is not served in time.
pub async fn crds(client: &Client) -> anyhow::Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for crd in dask_operator_api::crds() {
        let name = crd.name_any();
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        api.patch(&name, &parameters, &Patch::Apply(&crd))
            .await
            .with_context(|| format!("CRD {name}"))?;
        let established = await_condition(api.clone(), &name, conditions::is_crd_established());
        tokio::time::timeout(ESTABLISHED, established)
            .await
            .with_context(|| format!("CRD {name} is not served after {} s", ESTABLISHED.as_secs()))?
            .with_context(|| format!("CRD {name}"))?;
        info!(name, "installed");
    }
    Ok(())
}
