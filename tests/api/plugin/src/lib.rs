//! A plugin for tests: the default worker-group logic, which labels new pods, and misbehaves if an annotation of the group
//! requests it.

use std::collections::BTreeMap;

use dask_operator_plugin::prelude::*;
use dask_operator_worker_group::{DefaultWorkerGroup, Settings};

/// Annotation of a DaskWorkerGroup with the requested misbehaviour.
const BEHAVE: &str = "example.com/behave";

/// The component.
#[derive(Debug)]
pub struct Swapped;

impl Plugin for Swapped {
    const NAME: &str = "swapped";
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &str = "The default worker-group logic that misbehaves on request.";
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
            Some("loop") => loop_forever(),
            Some("memory") => exhaust_memory(),
            Some("large") => plan.status = "x".repeat(80 << 20),
            Some("invalid-json") => plan.status = "{".to_owned(),
            Some("give-up") => return Err(Error::Failed("told to".to_owned())),
            Some("foreign-kind") => {
                let kind = ResourceKind::new("rbac.authorization.k8s.io/v1", "ClusterRole");
                plan.children = vec![DesiredChild::create(kind.key("mine"), json!({}))];
            }
            Some("foreign-owner") => {
                let unknown_uid = "00000000-0000-0000-0000-000000000000";
                plan.owner = plan.owner.map(|owner| Owner {
                    uid: unknown_uid.to_owned(),
                    ..owner
                });
            }
            _ => label(&mut plan),
        }
        Ok(plan)
    }
}

/// Labels new pods, so that tests can tell that this plugin planned them.
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

/// Loops until the call exceeds its time limit.
fn loop_forever() -> ! {
    let mut number = 0_u64;
    loop {
        number = std::hint::black_box(number.wrapping_add(1));
    }
}

/// Allocates memory until the call exceeds its memory limit.
fn exhaust_memory() -> ! {
    let mut chunks = BTreeMap::new();
    loop {
        chunks.insert(chunks.len(), vec![1_u8; 1 << 20]);
        std::hint::black_box(&chunks);
    }
}

dask_operator_plugin::export!(Swapped: worker_group);
