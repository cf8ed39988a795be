//! What a short manifest means: the parts that its author left out.
//!
//! Only what is left out entirely is filled in. A container whose command or arguments somebody wrote listens where
//! they say, so it gets no ports and no probes; it gets an image only where it has none, and none where the field is
//! misspelt. One image is enough for a whole cluster, because all its parts must be of one version of Dask. Containers
//! beside Dask's own stay as they are.

use serde_json::{Map, Value, json};

use super::checks::misspelt_image;
use super::main_container::{self, Role};
use super::metadata::{CLUSTER_NAME, COMPONENT};

/// The image where neither manifest nor settings name one.
pub const IMAGE: &str = "ghcr.io/dask/dask:latest";

/// A member of an object, made where it is missing or null. None where `value` is no object.
fn member<'a>(value: &'a mut Value, name: &str, make: impl FnOnce() -> Value) -> Option<&'a mut Value> {
    let member = value.as_object_mut()?.entry(name).or_insert(Value::Null);
    if member.is_null() {
        *member = make();
    }
    Some(member)
}

fn object() -> Value {
    Value::Object(Map::new())
}

/// Whether a member is missing, null or an empty list.
fn is_left_out(value: &Value, name: &str) -> bool {
    match value.get(name) {
        None | Some(Value::Null) => true,
        Some(Value::Array(items)) => items.is_empty(),
        Some(_) => false,
    }
}

/// Fills in `spec` of a `DaskCluster` called `name`.
pub fn cluster_spec(spec: &mut Value, name: &str, image: &str) {
    let named = [("worker", Role::Worker), ("scheduler", Role::Scheduler)]
        .into_iter()
        .find_map(|(part, role)| main_image(&spec[part], role));
    let image = &named.unwrap_or_else(|| image.to_owned());
    if let Some(worker) = member(spec, "worker", object) {
        self::worker(worker, image);
    }
    let Some(scheduler) = member(spec, "scheduler", object) else {
        return;
    };
    if let Some(pod_spec) = member(scheduler, "spec", object) {
        main_container(pod_spec, Role::Scheduler, image, scheduler_parts);
        quantities(pod_spec);
    }
    let ports = ["tcp-comm", "http-dashboard"].map(|port| names_port(&scheduler["spec"], port));
    if let Some(service) = member(scheduler, "service", object) {
        self::service(service, name, ports);
    }
}

/// The image of the main container of a part of a spec.
pub fn main_image(part: &Value, role: Role) -> Option<String> {
    let pod_spec = part.get("spec")?;
    let container = pod_spec
        .get("containers")?
        .get(main_container::position(pod_spec, role))?;
    let image = container.get("image")?.as_str()?;
    (!image.is_empty()).then(|| image.to_owned())
}

/// Fills in `spec.worker` of a `DaskCluster` or a `DaskWorkerGroup`.
pub fn worker(worker: &mut Value, image: &str) {
    member(worker, "replicas", || json!(1));
    if let Some(pod_spec) = member(worker, "spec", object) {
        main_container(pod_spec, Role::Worker, image, worker_parts);
        quantities(pod_spec);
    }
}

/// Fills in `spec.job` of a `DaskJob`.
pub fn job(job: &mut Value, image: &str) {
    let Some(pod_spec) = member(job, "spec", object) else {
        return;
    };
    // Today's custom resource definition has this as its default.
    member(pod_spec, "restartPolicy", || json!("OnFailure"));
    let position = main_container::position(pod_spec, Role::Runner);
    let container = pod_spec
        .get_mut("containers")
        .and_then(|containers| containers.get_mut(position));
    if let Some(container) = container {
        member(container, "name", || json!(Role::Runner.container_name()));
        self::image(container, image);
    }
    quantities(pod_spec);
}

/// Gives a container an image, unless its author seems to have given it one and misspelt the field.
fn image(container: &mut Value, image: &str) {
    if misspelt_image(container).is_none() {
        member(container, "image", || json!(image));
    }
}

/// Writes quantities that are numbers with a fraction or an exponent, `cpu: 0.5`, as texts: a Pod may have either, a
/// custom resource only whole numbers and texts.
fn quantities(value: &mut Value) {
    let write = |quantity: &mut Value| {
        if let Some(number) = quantity.as_f64().filter(|_| quantity.is_f64()) {
            *quantity = json!(number.to_string());
        }
    };
    match value {
        Value::Array(items) => items.iter_mut().for_each(quantities),
        Value::Object(members) => {
            for (name, member) in members {
                match name.as_str() {
                    "sizeLimit" => write(member),
                    "resources" => {
                        for which in ["requests", "limits"] {
                            let amounts = member.get_mut(which).and_then(Value::as_object_mut);
                            amounts.into_iter().flat_map(Map::values_mut).for_each(write);
                        }
                    }
                    _ => quantities(member),
                }
            }
        }
        _ => {}
    }
}

/// Fills in the main container, or makes it.
fn main_container(pod_spec: &mut Value, role: Role, image: &str, parts: fn() -> Value) {
    let name = role.container_name();
    if is_left_out(pod_spec, "containers")
        && let Some(pod_spec) = pod_spec.as_object_mut()
    {
        pod_spec.insert("containers".to_owned(), json!([{"name": name}]));
    }
    let position = main_container::position(pod_spec, role);
    let Some(container) = pod_spec
        .get_mut("containers")
        .and_then(|containers| containers.get_mut(position))
    else {
        return;
    };
    member(container, "name", || json!(name));
    self::image(container, image);
    if is_left_out(container, "command")
        && is_left_out(container, "args")
        && let (Some(container), Value::Object(parts)) = (container.as_object_mut(), parts())
    {
        for (part, value) in parts {
            let present = container
                .get(&part)
                .is_some_and(|value| !value.is_null() && *value != json!([]));
            if !present {
                container.insert(part, value);
            }
        }
    }
}

fn scheduler_parts() -> Value {
    let health = json!({"path": "/health", "port": "http-dashboard"});
    json!({
        "args": ["dask", "scheduler"],
        "ports": [
            {"name": "tcp-comm", "containerPort": 8786, "protocol": "TCP"},
            {"name": "http-dashboard", "containerPort": 8787, "protocol": "TCP"},
        ],
        "readinessProbe": {"httpGet": health, "initialDelaySeconds": 0, "periodSeconds": 1, "timeoutSeconds": 300},
        "livenessProbe": {"httpGet": health, "initialDelaySeconds": 15, "periodSeconds": 20},
    })
}

fn worker_parts() -> Value {
    json!({
        "args": ["dask", "worker", "--name", "$(DASK_WORKER_NAME)", "--dashboard", "--dashboard-address", "8788"],
        "ports": [{"name": "http-dashboard", "containerPort": 8788, "protocol": "TCP"}],
    })
}

/// Whether a container of a pod calls a port by this name.
fn names_port(pod_spec: &Value, name: &str) -> bool {
    let containers = pod_spec["containers"].as_array().into_iter().flatten();
    containers
        .filter_map(|container| container["ports"].as_array())
        .flatten()
        .any(|port| port["name"] == name)
}

/// The Service of a scheduler; the flags say which of its two ports the pod has a name for.
fn service(service: &mut Value, cluster: &str, [comm, dashboard]: [bool; 2]) {
    if service["type"] == "ExternalName" {
        return;
    }
    // A name that the API server is going to make isn't known yet.
    if !cluster.is_empty() {
        member(
            service,
            "selector",
            || json!({CLUSTER_NAME: cluster, COMPONENT: "scheduler"}),
        );
    }
    if is_left_out(service, "ports")
        && let Some(service) = service.as_object_mut()
    {
        let port = |name: &str, number: u32, named: bool| {
            let target = if named { json!(name) } else { json!(number) };
            json!({"name": name, "protocol": "TCP", "port": number, "targetPort": target})
        };
        let ports = json!([
            port("tcp-comm", 8786, comm),
            port("http-dashboard", 8787, dashboard)
        ]);
        service.insert("ports".to_owned(), ports);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaulted(mut spec: Value) -> Value {
        cluster_spec(&mut spec, "c", IMAGE);
        spec
    }

    #[test]
    fn an_empty_spec_becomes_a_whole_one() {
        let spec = defaulted(json!({}));
        assert_eq!(spec["worker"]["replicas"], 1);
        let worker = &spec["worker"]["spec"]["containers"][0];
        assert_eq!(
            (&worker["name"], &worker["image"]),
            (&json!("worker"), &json!(IMAGE))
        );
        assert_eq!(worker["ports"][0]["containerPort"], 8788);
        let scheduler = &spec["scheduler"]["spec"]["containers"][0];
        assert_eq!(scheduler["readinessProbe"]["httpGet"]["port"], "http-dashboard");
        assert_eq!(
            spec["scheduler"]["service"]["selector"],
            json!({CLUSTER_NAME: "c", COMPONENT: "scheduler"})
        );
        assert_eq!(spec["scheduler"]["service"]["ports"][0]["name"], "tcp-comm");
    }

    /// Pods have a hash of their spec after defaulting. Where no webhook has written the defaults into the resource, a release
    /// that means something else by a short manifest replaces all workers of such manifests, and their schedulers where
    /// `schedulerUpdate` is `Recreate`. So this stays as it is; if it must not, docs/scaling.md has to say so.
    #[test]
    fn what_a_short_manifest_means_is_the_same_in_every_release() {
        let health = json!({"path": "/health", "port": "http-dashboard"});
        let scheduler = json!({
            "name": "scheduler", "image": "ghcr.io/dask/dask:latest", "args": ["dask", "scheduler"],
            "ports": [
                {"name": "tcp-comm", "containerPort": 8786, "protocol": "TCP"},
                {"name": "http-dashboard", "containerPort": 8787, "protocol": "TCP"},
            ],
            "readinessProbe": {"httpGet": health, "initialDelaySeconds": 0, "periodSeconds": 1, "timeoutSeconds": 300},
            "livenessProbe": {"httpGet": health, "initialDelaySeconds": 15, "periodSeconds": 20},
        });
        let worker = json!({
            "name": "worker", "image": "ghcr.io/dask/dask:latest",
            "args": ["dask", "worker", "--name", "$(DASK_WORKER_NAME)", "--dashboard", "--dashboard-address", "8788"],
            "ports": [{"name": "http-dashboard", "containerPort": 8788, "protocol": "TCP"}],
        });
        let spec = defaulted(json!({}));
        assert_eq!(spec["scheduler"]["spec"], json!({"containers": [scheduler]}));
        assert_eq!(spec["worker"]["spec"], json!({"containers": [worker]}));
    }

    #[test]
    fn quantities_are_written_as_a_custom_resource_may_have_them() {
        let resources =
            json!({"requests": {"cpu": 0.25, "memory": 1e9}, "limits": {"cpu": 1, "memory": "2Gi"}});
        let spec = defaulted(json!({"worker": {"spec": {
            "containers": [{"name": "w", "resources": resources}],
            "volumes": [{"name": "v", "emptyDir": {"sizeLimit": 1.5e6}}],
        }}}));
        let worker = &spec["worker"]["spec"];
        assert_eq!(
            worker["containers"][0]["resources"],
            json!({"requests": {"cpu": "0.25", "memory": "1000000000"}, "limits": {"cpu": 1, "memory": "2Gi"}})
        );
        assert_eq!(worker["volumes"][0]["emptyDir"]["sizeLimit"], "1500000");
    }

    #[test]
    fn one_image_is_enough() {
        let with = |part: &str| json!({part: {"spec": {"containers": [{"image": "mine:1"}]}}});
        for part in ["worker", "scheduler"] {
            let spec = defaulted(with(part));
            for (part, role) in [("worker", Role::Worker), ("scheduler", Role::Scheduler)] {
                assert_eq!(main_image(&spec[part], role).as_deref(), Some("mine:1"), "{part}");
            }
        }
    }

    #[test]
    fn a_misspelt_image_is_not_covered_by_another_one() {
        let spec = defaulted(json!({"worker": {"spec": {"containers": [{"imgae": "mine:1"}]}}}));
        assert_eq!(spec["worker"]["spec"]["containers"][0]["image"], Value::Null);
        let mut runner = json!({"spec": {"containers": [{"Image": "mine:1"}]}});
        job(&mut runner, IMAGE);
        assert_eq!(runner["spec"]["containers"][0]["image"], Value::Null);
    }

    #[test]
    fn containers_beside_dasks_stay_as_they_are() {
        let agent = json!({"name": "agent", "image": "agent:1"});
        let own = json!({"name": "w", "image": "mine:1", "args": ["dask", "worker"]});
        let spec = defaulted(json!({"worker": {"spec": {"containers": [agent, own]}}}));
        assert_eq!(spec["worker"]["spec"]["containers"], json!([agent, own]));
        assert_eq!(spec["scheduler"]["spec"]["containers"][0]["image"], "mine:1");
        let short = json!({"scheduler": {"spec": {"containers": [agent, {"name": "scheduler"}]}}});
        let containers = &defaulted(short)["scheduler"]["spec"]["containers"];
        assert_eq!(
            (&containers[0], &containers[1]["args"][1]),
            (&agent, &json!("scheduler"))
        );
    }

    #[test]
    fn a_name_that_is_not_known_yet_is_not_selected_by() {
        let mut spec = json!({});
        cluster_spec(&mut spec, "", IMAGE);
        assert_eq!(spec["scheduler"]["service"]["selector"], Value::Null);
    }

    #[test]
    fn what_somebody_wrote_stays() {
        let spec = json!({
            "worker": {"replicas": 0, "spec": {"containers": [{"name": "w", "image": "i", "command": ["sh"]}, {"name": "side"}]}},
            "scheduler": {
                "spec": {"containers": [{"name": "s", "image": "i", "args": ["dask", "scheduler"]}]},
                "service": {"type": "ClusterIP", "selector": {"a": "b"}, "ports": [{"name": "x", "port": 1}]},
            },
        });
        assert_eq!(defaulted(spec.clone()), spec);
        let external = json!({"type": "ExternalName", "externalName": "x"});
        let spec = json!({"scheduler": {"service": external}});
        assert_eq!(defaulted(spec)["scheduler"]["service"], external);
    }

    #[test]
    fn a_service_finds_ports_without_names_by_their_numbers() {
        let container = json!({"name": "s", "image": "i", "args": ["dask", "scheduler"]});
        let spec = defaulted(json!({"scheduler": {"spec": {"containers": [container]}}}));
        assert_eq!(spec["scheduler"]["service"]["ports"][0]["targetPort"], 8786);
        assert_eq!(spec["scheduler"]["service"]["ports"][1]["targetPort"], 8787);
        assert_eq!(
            defaulted(json!({}))["scheduler"]["service"]["ports"][0]["targetPort"],
            "tcp-comm"
        );
    }

    #[test]
    fn a_container_without_command_keeps_its_own_ports_and_probes() {
        let container = json!({"name": "s", "ports": [{"name": "tcp-comm", "containerPort": 1}], "readinessProbe": {"exec": {}}});
        let spec = defaulted(json!({"scheduler": {"spec": {"containers": [container]}}}));
        let container = &spec["scheduler"]["spec"]["containers"][0];
        assert_eq!(
            container["ports"],
            json!([{"name": "tcp-comm", "containerPort": 1}])
        );
        assert_eq!(container["readinessProbe"], json!({"exec": {}}));
        assert_eq!(container["args"][1], "scheduler");
    }

    #[test]
    fn defaulting_twice_changes_nothing() {
        let specs = [
            json!({}),
            json!(null),
            json!("text"),
            json!({"worker": null, "scheduler": null}),
            json!({"worker": {"spec": {"containers": []}}, "scheduler": {"service": {}}}),
            json!({"worker": {"spec": {"containers": [null]}}, "scheduler": {"spec": {"containers": [{}]}}}),
            json!({"worker": 3, "scheduler": {"spec": [], "service": "x"}}),
        ];
        for spec in specs {
            let once = defaulted(spec.clone());
            assert_eq!(defaulted(once.clone()), once, "{spec}");
        }
        let mut once = json!({"spec": {"containers": [{"name": "job"}]}});
        job(&mut once, IMAGE);
        let mut twice = once.clone();
        job(&mut twice, IMAGE);
        assert_eq!(once, twice);
        assert_eq!(once["spec"]["restartPolicy"], "OnFailure");
        let mut unnamed = json!({"spec": {"containers": [{"image": "i:1"}]}});
        job(&mut unnamed, IMAGE);
        assert_eq!(unnamed["spec"]["containers"][0]["name"], "job");
    }
}
