//! Check that the objects in the namespaces are those that the desired clusters require: none is missing or superfluous.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::api::Kind;

/// Namespace and name of an object.
pub(crate) type Key = (String, String);

/// All objects that clusters consist of, and the violations found so far.
struct State {
    objects: BTreeMap<(Kind, Key), Value>,
    /// Objects that belong to the desired state.
    expected: BTreeSet<(Kind, Key)>,
    problems: Vec<String>,
}

/// Returns what differs from the desired state: clusters with these numbers of workers, all of which run and are up to date.
pub(crate) fn problems(desired: &BTreeMap<Key, usize>, objects: Vec<(Kind, Value)>) -> Vec<String> {
    let keyed = |(kind, object): (Kind, Value)| ((kind, key(&object)), object);
    let mut state = State {
        objects: objects.into_iter().map(keyed).collect(),
        expected: BTreeSet::new(),
        problems: Vec::new(),
    };
    for (key, workers) in desired {
        state.check_cluster(key, *workers);
    }
    for id @ (kind, (namespace, name)) in state.objects.keys() {
        if !state.expected.contains(id) {
            let text = format!("{} {namespace}/{name} is superfluous", kind.name());
            state.problems.push(text);
        }
    }
    state.problems
}

impl State {
    /// Requires an object that is not being deleted and that only `owner` owns. Returns it, or `None` after a violation.
    fn require(&mut self, kind: Kind, key: &Key, owner: Option<&Value>) -> Option<Value> {
        let id = (kind, key.clone());
        let label = format!("{} {}/{}", kind.name(), key.0, key.1);
        let found = self.objects.get(&id).cloned();
        self.expected.insert(id);
        let problem = match &found {
            None => "is missing",
            Some(object) if !object["metadata"]["deletionTimestamp"].is_null() => "is terminating",
            Some(object) if owner.is_some_and(|owner| !is_owned(object, owner)) => "has another owner",
            Some(_) => return found,
        };
        self.problems.push(format!("{label} {problem}"));
        None
    }

    /// Records a violation unless `holds`.
    fn expect(&mut self, holds: bool, key: &Key, problem: impl FnOnce() -> String) {
        if !holds {
            self.problems.push(format!("{}/{}: {}", key.0, key.1, problem()));
        }
    }

    /// Returns the pods that an object owns.
    fn pods(&self, owner: &Value) -> Vec<Value> {
        let (namespace, _) = key(owner);
        let first = (Kind::Pod, (namespace.clone(), String::new()));
        let pods = self.objects.range(first..).map(|(_, object)| object);
        let pods = pods.take_while(|pod| pod["metadata"]["namespace"] == json!(namespace));
        pods.filter(|pod| is_owned(pod, owner)).cloned().collect()
    }

    fn check_cluster(&mut self, key: &Key, workers: usize) {
        let Some(cluster) = self.require(Kind::Cluster, key, None) else {
            return;
        };
        let status = &cluster["status"];
        self.expect(status["phase"] == "Running", key, || {
            format!("phase {}", status["phase"])
        });
        for condition in ["SchedulerReady", "WorkersReady"] {
            let found = condition_status(status, condition);
            self.expect(found == "True", key, || format!("{condition} is {found}"));
        }
        self.check_counts(key, &cluster, workers, &["replicas", "readyReplicas"]);
        let child = |suffix: &str| (key.0.clone(), format!("{}-{suffix}", key.1));
        self.require(Kind::Service, &child("scheduler"), Some(&cluster));
        if let Some(pod) = self.require(Kind::Pod, &child("scheduler"), Some(&cluster)) {
            self.expect(is_running(&pod), key, || "the scheduler does not run".to_owned());
        }
        let pods = self.pods(&cluster).len();
        self.expect(pods <= 1, key, || format!("the cluster owns {pods} pods"));
        let group = child("default");
        if let Some(found) = self.require(Kind::WorkerGroup, &group, Some(&cluster)) {
            self.check_group(&group, &found, workers);
        }
    }

    fn check_group(&mut self, key: &Key, group: &Value, workers: usize) {
        let replicas = &group["spec"]["worker"]["replicas"];
        self.expect(*replicas == json!(workers), key, || {
            format!("replicas is {replicas}, not {workers}")
        });
        self.check_counts(
            key,
            group,
            workers,
            &["replicas", "readyReplicas", "updatedReplicas"],
        );
        let retiring = &group["status"]["retiringReplicas"];
        self.expect(retiring.as_u64().unwrap_or(0) == 0, key, || {
            format!("{retiring} workers retire")
        });
        let blocked = condition_status(&group["status"], "ScaleDownBlocked");
        self.expect(blocked != "True", key, || "ScaleDownBlocked is True".to_owned());
        let pods = self.pods(group);
        let (found, running) = (pods.len(), pods.iter().filter(|pod| is_running(pod)).count());
        self.expect(found == workers && running == workers, key, || {
            format!("{running} of {found} workers run, and {workers} are desired")
        });
        for pod in &pods {
            let id = self::key(pod);
            self.require(Kind::Pod, &id, Some(group));
            let prefix = format!("{}-worker-", key.1);
            self.expect(id.1.starts_with(&prefix), &id, || {
                "is not the name of a worker".to_owned()
            });
        }
    }

    /// Checks that the status is that of the current generation, and that these fields have this number.
    fn check_counts(&mut self, key: &Key, object: &Value, workers: usize, fields: &[&str]) {
        let (status, generation) = (&object["status"], &object["metadata"]["generation"]);
        let observed = &status["observedGeneration"];
        self.expect(observed == generation, key, || {
            format!("generation {generation} was not observed, but {observed}")
        });
        for field in fields {
            let value = &status[field];
            self.expect(*value == json!(workers), key, || {
                format!("{field} is {value}, not {workers}")
            });
        }
    }
}

/// Returns namespace and name of an object.
fn key(object: &Value) -> Key {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    (text("namespace"), text("name"))
}

/// Returns whether `owner`, and nothing else, owns an object.
fn is_owned(object: &Value, owner: &Value) -> bool {
    let owners = object["metadata"]["ownerReferences"]
        .as_array()
        .map(Vec::as_slice);
    matches!(owners, Some([only]) if only["uid"] == owner["metadata"]["uid"])
}

fn is_running(pod: &Value) -> bool {
    pod["status"]["phase"] == "Running"
}

/// Returns the status of a condition. Empty if it is missing.
fn condition_status<'a>(status: &'a Value, condition: &str) -> &'a str {
    let mut conditions = status["conditions"].as_array().into_iter().flatten();
    let found = conditions.find(|found| found["type"] == condition);
    found
        .and_then(|found| found["status"].as_str())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(kind: Kind, name: &str, owner: &str) -> (Kind, Value) {
        let owners = if owner.is_empty() {
            json!([])
        } else {
            json!([{"uid": owner}])
        };
        let metadata =
            json!({"namespace": "n", "name": name, "uid": name, "generation": 1, "ownerReferences": owners});
        (
            kind,
            json!({"metadata": metadata, "status": {"phase": "Running"}}),
        )
    }

    /// Returns the objects of a cluster with two workers.
    fn objects() -> Vec<(Kind, Value)> {
        let mut cluster = object(Kind::Cluster, "c", "");
        cluster.1["status"] = json!({
            "phase": "Running", "observedGeneration": 1, "replicas": 2, "readyReplicas": 2,
            "conditions": [{"type": "SchedulerReady", "status": "True"}, {"type": "WorkersReady", "status": "True"}],
        });
        let mut group = object(Kind::WorkerGroup, "c-default", "c");
        group.1["spec"] = json!({"worker": {"replicas": 2}});
        group.1["status"] =
            json!({"observedGeneration": 1, "replicas": 2, "readyReplicas": 2, "updatedReplicas": 2});
        vec![
            cluster,
            group,
            object(Kind::Service, "c-scheduler", "c"),
            object(Kind::Pod, "c-scheduler", "c"),
            object(Kind::Pod, "c-default-worker-1", "c-default"),
            object(Kind::Pod, "c-default-worker-2", "c-default"),
        ]
    }

    fn found(objects: Vec<(Kind, Value)>) -> Vec<String> {
        problems(&BTreeMap::from([(("n".to_owned(), "c".to_owned()), 2)]), objects)
    }

    #[test]
    fn a_complete_cluster_has_no_problems() {
        assert_eq!(found(objects()), Vec::<String>::new());
    }

    #[test]
    fn each_missing_object_is_a_problem() {
        for at in 0..objects().len() {
            let mut fewer = objects();
            fewer.remove(at);
            assert!(!found(fewer).is_empty(), "object {at}");
        }
    }

    #[test]
    fn superfluous_objects_are_problems() {
        for (extra, expected) in [
            (
                object(Kind::Pod, "c-default-worker-3", "c-default"),
                "3 of 3 workers run, and 2 are desired",
            ),
            (object(Kind::Pod, "c-scheduler-2", "c"), "the cluster owns 2 pods"),
            (
                object(Kind::Service, "d-scheduler", "d"),
                "Service n/d-scheduler is superfluous",
            ),
            (object(Kind::Cluster, "d", ""), "DaskCluster n/d is superfluous"),
        ] {
            let mut more = objects();
            more.push(extra);
            let found = found(more);
            assert!(
                found.iter().any(|problem| problem.contains(expected)),
                "{expected}: {found:?}"
            );
        }
    }

    #[test]
    fn outdated_states_are_problems() {
        for (at, field, value, expected) in [
            (0, "/status/phase", json!("Pending"), "phase \"Pending\""),
            (
                0,
                "/status/conditions/1/status",
                json!("False"),
                "WorkersReady is False",
            ),
            (
                0,
                "/metadata/generation",
                json!(2),
                "generation 2 was not observed",
            ),
            (
                1,
                "/status/updatedReplicas",
                json!(1),
                "updatedReplicas is 1, not 2",
            ),
            (1, "/spec/worker/replicas", json!(3), "replicas is 3, not 2"),
            (3, "/status/phase", json!("Pending"), "the scheduler does not run"),
            (4, "/status/phase", json!("Failed"), "1 of 2 workers run"),
            (
                4,
                "/metadata/ownerReferences/0/uid",
                json!("former"),
                "worker-1 is superfluous",
            ),
            (
                2,
                "/metadata/ownerReferences/0/uid",
                json!("former"),
                "has another owner",
            ),
        ] {
            let mut objects = objects();
            *objects[at].1.pointer_mut(field).expect("a field") = value;
            let found = found(objects);
            assert!(
                found.iter().any(|problem| problem.contains(expected)),
                "{expected}: {found:?}"
            );
        }
        let mut objects = objects();
        objects[5].1["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(found(objects), ["Pod n/c-default-worker-2 is terminating"]);
    }
}
