//! The default worker-group logic, which labels pods, and misbehaves where a group's annotation tells it to.

use std::collections::BTreeMap;

use dask_operator_plugin::prelude::*;
use dask_operator_worker_group::{DefaultWorkerGroup, Settings};

/// The annotation of a DaskWorkerGroup that says how to misbehave.
const BEHAVE: &str = "example.com/behave";

/// The component.
#[derive(Debug)]
pub struct Swapped;

impl Plugin for Swapped {
    const NAME: &str = "swapped";
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &str = "The default worker-group logic that misbehaves when it is told to.";
    type Settings = NoSettings;
}

impl Logic<WorkerGroup> for Swapped {
    fn child_kinds(_: &NoSettings) -> Vec<ResourceKind> {
        <DefaultWorkerGroup as Logic<WorkerGroup>>::child_kinds(&Settings::default())
    }

    fn plan(observation: &Observation, _: &NoSettings) -> Result<Plan, Error> {
        let parent = observation.parent_json()?;
        let mut plan = <DefaultWorkerGroup as Logic<WorkerGroup>>::plan(observation, &Settings::default())?;
        match parent["metadata"]["annotations"][BEHAVE].as_str() {
            Some("trap") => panic!("told to"),
            Some("loop") => forever(),
            Some("memory") => hoard(),
            Some("large") => plan.status = "x".repeat(80 << 20),
            Some("invalid-json") => plan.status = "{".to_owned(),
            Some("give-up") => return Err(Error::Failed("told to".to_owned())),
            Some("foreign-kind") => {
                let kind = ResourceKind::new("rbac.authorization.k8s.io/v1", "ClusterRole");
                plan.children = vec![DesiredChild::create(kind.key("mine"), json!({}))];
            }
            Some("foreign-owner") => {
                let nobody = "00000000-0000-0000-0000-000000000000";
                plan.owner = plan.owner.map(|owner| Owner {
                    uid: nobody.to_owned(),
                    ..owner
                });
            }
            _ => label(&mut plan),
        }
        Ok(plan)
    }
}

/// Marks new pods, so that a test sees who made them.
fn label(plan: &mut Plan) {
    for child in &mut plan.children {
        if let ChildAction::Create(object) = &mut child.action
            && let Ok(mut pod) = dask_operator_plugin::serde_json::from_str::<Value>(object)
        {
            pod["metadata"]["labels"]["example.com/made-by"] = json!("swapped");
            *object = pod.to_string();
        }
    }
}

fn forever() -> ! {
    let mut number = 0_u64;
    loop {
        number = std::hint::black_box(number.wrapping_add(1));
    }
}

fn hoard() -> ! {
    let mut hoard = BTreeMap::new();
    loop {
        hoard.insert(hoard.len(), vec![1_u8; 1 << 20]);
        std::hint::black_box(&hoard);
    }
}

dask_operator_plugin::export!(Swapped: worker_group);
