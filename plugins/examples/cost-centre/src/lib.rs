//! Labels every cluster with a cost centre: a cluster without the label gets the default, and an unknown cost centre is
//! refused.
//!
//! This component has two interfaces: the default cluster logic with an additional label, and a policy for all Dask
//! resources.

use dask_operator_cluster::DefaultCluster;
use dask_operator_plugin::prelude::*;
use dask_operator_plugin::{schemars, serde};

const LABEL: &str = "example.com/cost-centre";

/// Settings of the plugin.
#[derive(Debug, Clone, Default, serde::Deserialize, schemars::JsonSchema)]
#[serde(
    crate = "dask_operator_plugin::serde",
    default,
    deny_unknown_fields,
    rename_all = "camelCase"
)]
#[schemars(crate = "dask_operator_plugin::schemars")]
pub struct Settings {
    /// Known cost centres; the first one is the default.
    pub known: Vec<String>,
}

/// The component with both interfaces.
#[derive(Debug)]
pub struct CostCentre;

impl Plugin for CostCentre {
    const NAME: &str = "cost-centre";
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &str = "Gives every cluster a cost centre and refuses unknown ones.";
    type Settings = Settings;
}

impl Logic<Cluster> for CostCentre {
    fn child_kinds(_: &Settings) -> Vec<ResourceKind> {
        <DefaultCluster as Logic<Cluster>>::child_kinds(&dask_operator_cluster::Settings::default())
    }

    fn default(mut object: Value, settings: &Settings) -> Result<Value, Error> {
        if let Some(default) = settings.known.first()
            && object["metadata"]["labels"][LABEL].is_null()
        {
            object["metadata"]["labels"][LABEL] = json!(default);
        }
        <DefaultCluster as Logic<Cluster>>::default(object, &dask_operator_cluster::Settings::default())
    }

    fn plan(observation: &Observation, _: &Settings) -> Result<Plan, Error> {
        <DefaultCluster as Logic<Cluster>>::plan(observation, &dask_operator_cluster::Settings::default())
    }
}

impl Policy for CostCentre {
    fn admit(request: &AdmissionRequest, settings: &Settings) -> Result<AdmissionResponse, String> {
        let object = request.object_json()?;
        let known = &settings.known;
        Ok(match object["metadata"]["labels"][LABEL].as_str() {
            Some(label) if !known.iter().any(|known| known == label) => {
                let message = format!(
                    "there is no cost centre {label}: write one of {}",
                    known.join(", ")
                );
                AdmissionResponse::refuse(format!("metadata.labels.{LABEL}"), message)
            }
            _ => AdmissionResponse::allow(),
        })
    }

    fn review_plan(_: &ReviewRequest, _: &Settings) -> Result<Review, String> {
        // The label is a property of the resource, so there is nothing to check in its children.
        Ok(Review::Allow)
    }
}

export!(CostCentre: cluster, policy);
