//! The default autoscaler with a lower bound: it never removes the last worker.

use dask_operator_autoscaler::DefaultAutoscaler;
use dask_operator_plugin::prelude::*;
use dask_operator_plugin::{schemars, serde};

/// Settings of the plugin. Users see these comments as the description of each setting.
#[derive(Debug, Clone, serde::Deserialize, schemars::JsonSchema)]
#[serde(crate = "dask_operator_plugin::serde", default, deny_unknown_fields, rename_all = "camelCase")]
#[schemars(crate = "dask_operator_plugin::schemars")]
pub struct Settings {
    /// Smallest number of workers, even if an autoscaler requests fewer.
    pub minimum: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { minimum: 1 }
    }
}

/// The autoscaler component.
#[derive(Debug)]
pub struct {{type}};

impl Plugin for {{type}} {
    const NAME: &str = "{{name}}";
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &str = "Scales as the default autoscaler does, but never below a minimum.";
    type Settings = Settings;
}

impl Logic<Autoscaler> for {{type}} {
    fn child_kinds(_: &Settings) -> Vec<ResourceKind> {
        <DefaultAutoscaler as Logic<Autoscaler>>::child_kinds(&NoSettings::default())
    }

    fn validate(object: &Value, old: Option<&Value>, _: &Settings) -> Vec<Finding> {
        <DefaultAutoscaler as Logic<Autoscaler>>::validate(object, old, &NoSettings::default())
    }

    fn plan(observation: &Observation, settings: &Settings) -> Result<Plan, Error> {
        let mut plan = <DefaultAutoscaler as Logic<Autoscaler>>::plan(observation, &NoSettings::default())?;
        for scale in &mut plan.scale {
            scale.replicas = scale.replicas.max(settings.minimum);
        }
        Ok(plan)
    }
}

export!({{type}}: autoscaler);

#[cfg(test)]
mod tests {
    use dask_operator_plugin::testing::{START, Scenario, answer, yaml};

    use super::*;

    #[test]
    fn never_removes_the_last_worker() {
        let facts = SchedulerFacts {
            desired_workers: Some(0),
            ..answer(START, Vec::new())
        };
        let eager = "{kind: DaskAutoscaler, metadata: {name: a}, spec: {cluster: c, maximum: 10, \
                     scaleDown: {windowSeconds: 0, step: 100%, periodSeconds: 0}}}";
        let plan = Scenario::of(eager)
            .related(yaml("{apiVersion: kubernetes.dask.org/v1, kind: DaskCluster, metadata: {name: c}}"))
            .related(yaml("{apiVersion: kubernetes.dask.org/v1, kind: DaskWorkerGroup, metadata: {name: c-default}, spec: {cluster: c, worker: {replicas: 3}}}"))
            .scheduler(facts)
            .plan::<Autoscaler, {{type}}>()
            .expect("a plan");
        assert_eq!(plan.0.scale[0].replicas, 1);
    }
}
