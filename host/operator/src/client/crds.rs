//! Installation of the definitions of the Dask resources.

use std::time::Duration;

use anyhow::Context;
use dask_operator_core::names::FIELD_MANAGER;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, ResourceExt};
use tracing::info;

/// Time limit until the API server serves a definition.
const ESTABLISHED_TIMEOUT: Duration = Duration::from_secs(30);

/// Applies all CRDs and waits until the API server serves them.
///
/// # Errors
///
/// Returns an error if the API server refuses a CRD, or does not serve it in time.
pub(crate) async fn crds(client: &Client) -> anyhow::Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for crd in dask_operator_api::crds() {
        let name = crd.name_any();
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        api.patch(&name, &parameters, &Patch::Apply(&crd))
            .await
            .with_context(|| format!("CRD {name}"))?;
        let established = await_condition(api.clone(), &name, conditions::is_crd_established());
        tokio::time::timeout(ESTABLISHED_TIMEOUT, established)
            .await
            .with_context(|| {
                format!(
                    "CRD {name} is not served after {} s",
                    ESTABLISHED_TIMEOUT.as_secs()
                )
            })?
            .with_context(|| format!("CRD {name}"))?;
        info!(name, "installed");
    }
    Ok(())
}
