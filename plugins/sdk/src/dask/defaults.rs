//! Defaults for the parts of a manifest that its author omitted.
//!
//! Only parts that are missing entirely are filled in. A container with a command or arguments listens on the ports that
//! they define, so it gets no ports and no probes. All parts of a resource must run the same version of Dask, so one image
//! is enough for all of them: a part without an image gets the image of another part, or the administrator's. If there is
//! neither, the parts get [`IMAGE`], but only if all of them omit their containers: a container without an image means that
//! its author forgot the image or misspelt the field. A part with a misspelt `containers` gets no container. Containers
//! other than Dask's are not changed.

use serde_json::{Map, Value, json};

use super::checks::{misspelt_containers, misspelt_image};
use super::fields;
use super::main_container;
use super::metadata::{COMPONENT_SCHEDULER, LABEL_CLUSTER, LABEL_COMPONENT};
use super::role::Role;

/// Default image if neither the manifest nor the settings contain one.
pub const IMAGE: &str = "ghcr.io/dask/dask:latest";

/// Parts of a cluster's spec that contain pods.
const PARTS: [(&str, Role); 2] = [
    (fields::cluster::WORKER, Role::Worker),
    (fields::cluster::SCHEDULER, Role::Scheduler),
];

/// Returns a member of an object, and creates it if it is missing or null. Returns `None` if `value` is not an object.
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

/// Returns whether a member is missing, null or an empty list.
fn is_left_out(value: &Value, name: &str) -> bool {
    match value.get(name) {
        None | Some(Value::Null) => true,
        Some(Value::Array(items)) => items.is_empty(),
        Some(_) => false,
    }
}

/// Fills in the `spec` of a `DaskCluster` with the name `name`. `setting` is the administrator's image, if there is one.
pub fn cluster_spec(spec: &mut Value, name: &str, setting: Option<&str>) {
    let parts = PARTS.map(|(part, role)| (&spec[part], role));
    let image = image_of(&parts, setting);
    fill_cluster_spec(spec, name, image.as_deref());
}

fn fill_cluster_spec(spec: &mut Value, name: &str, image: Option<&str>) {
    if let Some(worker) = member(spec, fields::cluster::WORKER, object) {
        fill_worker(worker, image);
    }
    let Some(scheduler) = member(spec, fields::cluster::SCHEDULER, object) else {
        return;
    };
    if let Some(pod_spec) = member(scheduler, fields::template::SPEC, object) {
        main_container(pod_spec, Role::Scheduler, image, scheduler_parts);
        quantities(pod_spec);
    }
    let ports =
        ["tcp-comm", "http-dashboard"].map(|port| names_port(&scheduler[fields::template::SPEC], port));
    if let Some(service) = member(scheduler, fields::scheduler::SERVICE, object) {
        self::service(service, name, ports);
    }
}

/// Returns the image for all parts of a resource without one. Returns `None` if a part has a container without an image and
/// neither another part nor the administrator defines one.
fn image_of(parts: &[(&Value, Role)], setting: Option<&str>) -> Option<String> {
    let named = parts.iter().find_map(|(part, role)| main_image(part, *role));
    let lacks_one = || parts.iter().any(|(part, role)| lacks_image(part, *role));
    named
        .or_else(|| setting.map(str::to_owned))
        .or_else(|| (!lacks_one()).then(|| IMAGE.to_owned()))
}

/// Returns the main container of a part of a spec, if the manifest contains one.
fn written_container(part: &Value, role: Role) -> Option<&Value> {
    let pod_spec = part.get(fields::template::SPEC)?;
    let position = main_container::position(pod_spec, role);
    pod_spec.get("containers")?.get(position)
}

/// Returns whether the manifest contains the main container of a part without an image. A misspelt `image` does not count,
/// because the checks report it.
fn lacks_image(part: &Value, role: Role) -> bool {
    written_container(part, role).is_some_and(|container| {
        container.is_object() && container["image"].is_null() && misspelt_image(container).is_none()
    })
}

/// Returns the image of the main container of a part of a spec.
pub fn main_image(part: &Value, role: Role) -> Option<String> {
    let image = written_container(part, role)?.get("image")?.as_str()?;
    (!image.is_empty()).then(|| image.to_owned())
}

/// Fills in `spec.worker` of a `DaskWorkerGroup`. `setting` is the administrator's image, if there is one.
pub fn worker(worker: &mut Value, setting: Option<&str>) {
    let image = image_of(&[(&*worker, Role::Worker)], setting);
    fill_worker(worker, image.as_deref());
}

fn fill_worker(worker: &mut Value, image: Option<&str>) {
    member(worker, fields::worker::REPLICAS, || json!(1));
    if let Some(pod_spec) = member(worker, fields::template::SPEC, object) {
        let parts = match pod_spec["hostNetwork"] == true {
            true => worker_parts_on_node,
            false => worker_parts,
        };
        main_container(pod_spec, Role::Worker, image, parts);
        quantities(pod_spec);
    }
}

/// Fills in the `spec` of a `DaskJob` with the name `name`. Runner and workers run the same code: if one of them has an
/// image, the other gets it, too. `setting` is the administrator's image, if there is one.
pub fn job_spec(spec: &mut Map<String, Value>, name: &str, setting: Option<&str>) {
    let cluster = spec.entry(fields::job::CLUSTER).or_insert_with(object);
    if let Some(cluster) = cluster.as_object_mut() {
        cluster.entry(fields::template::SPEC).or_insert_with(object);
    }
    let cluster = spec
        .get(fields::job::CLUSTER)
        .and_then(|cluster| cluster.get(fields::template::SPEC));
    let cluster = cluster.unwrap_or(&Value::Null);
    let [worker, scheduler] = PARTS.map(|(part, role)| (&cluster[part], role));
    let runner = (spec.get(fields::job::JOB).unwrap_or(&Value::Null), Role::Runner);
    let image = image_of(&[worker, scheduler, runner], setting);
    if let Some(spec) = spec
        .get_mut(fields::job::CLUSTER)
        .and_then(|cluster| cluster.get_mut(fields::template::SPEC))
    {
        fill_cluster_spec(spec, name, image.as_deref());
    }
    if let Some(job) = spec.get_mut(fields::job::JOB) {
        fill_runner(job, image.as_deref());
    }
}

/// Fills in `spec.job` of a `DaskJob`.
fn fill_runner(job: &mut Value, image: Option<&str>) {
    let Some(pod_spec) = member(job, fields::template::SPEC, object) else {
        return;
    };
    // The default in the current custom resource definition.
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

/// Gives a container an image, unless it probably has one in a misspelt field.
fn image(container: &mut Value, image: Option<&str>) {
    if let Some(image) = image.filter(|_| misspelt_image(container).is_none()) {
        member(container, "image", || json!(image));
    }
}

/// Converts quantities with a fraction or an exponent, such as `cpu: 0.5`, from numbers to text: a Pod accepts both, a
/// custom resource only whole numbers and text.
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

/// Fills in or creates the main container, unless it is probably in a misspelt field.
fn main_container(pod_spec: &mut Value, role: Role, image: Option<&str>, parts: fn() -> Value) {
    let name = role.container_name();
    if is_left_out(pod_spec, "containers")
        && misspelt_containers(pod_spec).is_none()
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

/// Returns the defaults of a worker in the host network. It has no ports, because Kubernetes would reserve each of them on
/// the node, which would limit the node to one worker.
fn worker_parts_on_node() -> Value {
    json!({"args": worker_parts()["args"]})
}

/// Returns whether a container of a pod has a port with this name.
fn names_port(pod_spec: &Value, name: &str) -> bool {
    let containers = pod_spec["containers"].as_array().into_iter().flatten();
    containers
        .filter_map(|container| container["ports"].as_array())
        .flatten()
        .any(|port| port["name"] == name)
}

/// Fills in the Service of a scheduler. The flags are true for ports that the pod has a name for.
fn service(service: &mut Value, cluster: &str, [comm, dashboard]: [bool; 2]) {
    if service["type"] == "ExternalName" {
        return;
    }
    // A name that the API server generates is not known yet.
    if !cluster.is_empty() {
        member(
            service,
            "selector",
            || json!({LABEL_CLUSTER: cluster, LABEL_COMPONENT: COMPONENT_SCHEDULER}),
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
        cluster_spec(&mut spec, "c", None);
        spec
    }

    /// Returns a job's spec after defaulting.
    fn defaulted_job(mut spec: Value, setting: Option<&str>) -> Value {
        job_spec(spec.as_object_mut().expect("an object"), "j", setting);
        spec
    }

    #[test]
    fn fills_in_an_empty_spec() {
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
            json!({LABEL_CLUSTER: "c", LABEL_COMPONENT: "scheduler"})
        );
        assert_eq!(spec["scheduler"]["service"]["ports"][0]["name"], "tcp-comm");
    }

    /// Pods have a hash of their spec after defaulting. If no webhook has written the defaults into the resource, a release with
    /// other defaults replaces all workers of short manifests, and their schedulers if `schedulerUpdate` is `Recreate`. So the
    /// defaults must not change; if they have to, docs/scaling.md must document it.
    #[test]
    fn the_defaults_are_the_same_in_every_release() {
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
    fn workers_in_the_host_network_reserve_no_port() {
        let with = |host_network: bool| {
            let spec = defaulted(json!({"worker": {"spec": {"hostNetwork": host_network}}}));
            spec["worker"]["spec"]["containers"][0].clone()
        };
        assert_eq!(with(true)["ports"], Value::Null);
        assert_eq!(with(true)["args"], with(false)["args"]);
        assert_eq!(with(false)["ports"][0]["containerPort"], 8788);
    }

    #[test]
    fn quantities_are_valid_in_a_custom_resource() {
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
    fn a_misspelt_image_is_not_replaced() {
        let spec = defaulted(json!({"worker": {"spec": {"containers": [{"imgae": "mine:1"}]}}}));
        assert_eq!(spec["worker"]["spec"]["containers"][0]["image"], Value::Null);
        assert_eq!(
            main_image(&spec["scheduler"], Role::Scheduler).as_deref(),
            Some(IMAGE),
            "the scheduler has no container in the manifest"
        );
        let job = defaulted_job(
            json!({"job": {"spec": {"containers": [{"Image": "mine:1"}]}}}),
            Some("theirs:1"),
        );
        assert_eq!(job["job"]["spec"]["containers"][0]["image"], Value::Null);
    }

    #[test]
    fn misspelt_containers_are_not_replaced() {
        let container = json!([{"name": "worker", "image": "mine:1"}]);
        for pod_spec in [
            json!({"contaienrs": container}),
            json!({"template": {"spec": {"containers": container}}, "containers": []}),
        ] {
            let spec = defaulted(json!({"worker": {"spec": pod_spec}}));
            assert_eq!(spec["worker"]["spec"], pod_spec);
            assert_eq!(
                main_image(&spec["scheduler"], Role::Scheduler).as_deref(),
                Some(IMAGE)
            );
            assert_eq!(defaulted(spec.clone()), spec, "defaulting twice changes nothing");
        }
    }

    /// Returns the images of the worker, the scheduler and, for a job, the runner.
    fn images(spec: &Value, runner: Option<&Value>) -> Vec<Option<String>> {
        let of_cluster = PARTS.map(|(part, role)| main_image(&spec[part], role));
        let of_runner = runner.map(|runner| main_image(runner, Role::Runner));
        of_cluster.into_iter().chain(of_runner).collect()
    }

    #[test]
    fn a_container_needs_an_image_of_some_part() {
        let without = || json!({"spec": {"containers": [{"name": "main"}]}});
        let with = |image: &str| json!({"spec": {"containers": [{"name": "main", "image": image}]}});
        let all = |image: Option<&str>, count: usize| vec![image.map(str::to_owned); count];
        for (spec, setting, expected) in [
            (json!({"worker": without()}), None, None),
            (json!({"scheduler": without()}), None, None),
            (json!({"worker": without()}), Some("theirs:1"), Some("theirs:1")),
            (
                json!({"worker": without(), "scheduler": with("mine:1")}),
                Some("theirs:1"),
                Some("mine:1"),
            ),
            (json!({"worker": {"spec": {"containers": []}}}), None, Some(IMAGE)),
            (json!({}), None, Some(IMAGE)),
            (json!({}), Some("theirs:1"), Some("theirs:1")),
        ] {
            let mut filled = spec.clone();
            cluster_spec(&mut filled, "c", setting);
            assert_eq!(images(&filled, None), all(expected, 2), "{spec} {setting:?}");
        }
        for (spec, setting, expected) in [
            (json!({"job": without()}), None, None),
            (json!({"job": without()}), Some("theirs:1"), Some("theirs:1")),
            (json!({"job": with("mine:1")}), None, Some("mine:1")),
            (
                json!({"job": with("mine:1"), "cluster": {"spec": {"worker": without()}}}),
                None,
                Some("mine:1"),
            ),
            (
                json!({"job": without(), "cluster": {"spec": {"scheduler": with("mine:1")}}}),
                None,
                Some("mine:1"),
            ),
        ] {
            let filled = defaulted_job(spec.clone(), setting);
            let found = images(&filled["cluster"]["spec"], Some(&filled["job"]));
            assert_eq!(found, all(expected, 3), "{spec} {setting:?}");
            assert_eq!(
                defaulted_job(filled.clone(), setting),
                filled,
                "defaulting twice changes nothing"
            );
        }
        for (group, setting, expected) in [
            (without(), None, None),
            (without(), Some("theirs:1"), Some("theirs:1")),
            (json!({}), None, Some(IMAGE)),
        ] {
            let mut filled = group.clone();
            worker(&mut filled, setting);
            assert_eq!(main_image(&filled, Role::Worker).as_deref(), expected, "{group}");
        }
    }

    #[test]
    fn other_containers_are_not_changed() {
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
    fn an_unknown_name_is_not_in_the_selector() {
        let mut spec = json!({});
        cluster_spec(&mut spec, "", None);
        assert_eq!(spec["scheduler"]["service"]["selector"], Value::Null);
    }

    #[test]
    fn values_in_the_manifest_stay() {
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
    fn a_service_uses_numbers_for_ports_without_a_name() {
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
    fn a_container_without_command_keeps_its_ports_and_probes() {
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
            json!({"scheduler": {"spec": {"containers": [{"name": "s"}]}}}),
            json!({"worker": {"spec": {"containers": [{"name": "w", "imagee": "i:1"}]}}}),
            json!({"worker": 3, "scheduler": {"spec": [], "service": "x"}}),
        ];
        for spec in specs {
            let once = defaulted(spec.clone());
            assert_eq!(defaulted(once.clone()), once, "{spec}");
        }
        let once = defaulted_job(json!({"job": {"spec": {"containers": [{"name": "job"}]}}}), None);
        assert_eq!(defaulted_job(once.clone(), None), once);
        assert_eq!(once["job"]["spec"]["restartPolicy"], "OnFailure");
        let unnamed = defaulted_job(json!({"job": {"spec": {"containers": [{"image": "i:1"}]}}}), None);
        assert_eq!(unnamed["job"]["spec"]["containers"][0]["name"], "job");
    }
}
