//! Tests of messages about manifests, except those about specs: identity, metadata and conflicts.

use rstest::rstest;

use super::{CLUSTER, Run, objects, run};

const GROUP: &str = "
apiVersion: kubernetes.dask.org/v1
kind: DaskWorkerGroup
metadata: {name: c-default, namespace: team}
spec: {cluster: c, worker: {replicas: 1, spec: {containers: [{name: worker, image: dask:1, args: [dask, worker, --name, $(DASK_WORKER_NAME)]}]}}}
";

const AUTOSCALER: &str = "
apiVersion: kubernetes.dask.org/v1
kind: DaskAutoscaler
metadata: {name: first, namespace: team}
spec: {cluster: c, minimum: 0, maximum: 3}
";

#[rstest]
#[case::number_for_a_name(CLUSTER.replace("name: c,", "name: 20260101,"),
    "error: standard input: DaskCluster: metadata.name: it must be text: put 20260101 into quotes, as \"20260101\"\n")]
#[case::null_for_a_name(CLUSTER.replace("name: c,", "name: null,"),
    "error: standard input: DaskCluster: metadata.name: it is missing: give the resource a name\n")]
#[case::null_for_all(CLUSTER.replace("metadata: {name: c, namespace: team}", "metadata:"),
    "error: standard input: DaskCluster: metadata.name: it is missing: give the resource a name\n")]
#[case::list(CLUSTER.replace("metadata: {name: c, namespace: team}", "metadata: [c]"),
    "error: standard input: DaskCluster: metadata: it must be an object, and a list stands there: write it as `{name: my-cluster}`\n")]
#[case::label(CLUSTER.replace("name: c,", "name: c, labels: {team: 42},"),
    "error: standard input: DaskCluster c: metadata.labels.team: it must be text: put 42 into quotes, as \"42\"\n")]
#[case::namespace(CLUSTER.replace("team}", "Team}"),
    "error: standard input: DaskCluster c: metadata.namespace: `Team` is no name of a namespace: write at most 63 of a-z, 0-9 and \
     -, with a letter or digit at both ends\n")]
#[case::autoscaler(AUTOSCALER.replace("first", "My_Scaler"),
    "error: standard input: DaskAutoscaler My_Scaler: metadata.name: `My_Scaler` is no name of an object: write at most 253 of \
     a-z, 0-9, - and ., with a letter or digit at both ends\n")]
#[case::group(GROUP.replace("c-default", "High_Mem"),
    "error: standard input: DaskWorkerGroup High_Mem: metadata.name: the name of a DaskWorkerGroup consists of lower case \
     letters, digits, `-` and `.`, and begins and ends with a letter or digit: `High_Mem` does not, write one like \
     `my-cluster-highmem`\n")]
#[case::another_group(CLUSTER.replace("kubernetes.dask.org/v1", "dask.org/v1"),
    "error: standard input: DaskCluster c: apiVersion: \"dask.org/v1\" has no DaskCluster: write kubernetes.dask.org/v1\n")]
#[case::capital(CLUSTER.replace("kubernetes.dask.org/v1", "Kubernetes.dask.org/v1"), "write kubernetes.dask.org/v1\n")]
#[case::space(CLUSTER.replace("kubernetes.dask.org/v1", "kubernetes.dask.org /v1"), "write kubernetes.dask.org/v1\n")]
#[case::misspelt(CLUSTER.replace("kubernetes.dask.org/v1", "kubernetes-dask.org/v1"), "write kubernetes.dask.org/v1\n")]
#[case::core(CLUSTER.replace("kubernetes.dask.org/v1", "v1"), "\"v1\" has no DaskCluster: write kubernetes.dask.org/v1\n")]
fn rejects_invalid_identity_and_metadata(#[case] manifest: String, #[case] expected: &str) {
    let Run { succeeded, out, err } = run(&["-f", "-"], &manifest);
    assert!(!succeeded);
    assert_eq!(out, "");
    assert!(err.ends_with(expected), "{err}");
    assert_eq!(err.lines().count(), 1, "{err}");
}

#[rstest]
#[case::gateway(CLUSTER.replace("kubernetes.dask.org/v1", "gateway.dask.org/v1alpha1"),
    "DaskCluster c: skipped: gateway.dask.org/v1alpha1 DaskCluster is no Dask resource\n")]
#[case::others(CLUSTER.replace("kubernetes.dask.org/v1", "example.com/v1"),
    "DaskCluster c: skipped: example.com/v1 DaskCluster is no Dask resource\n")]
#[case::plugin("apiVersion: kubernetes.dask.org/v1\nkind: DaskPlugin\nmetadata: {name: p}".to_owned(),
    "DaskPlugin p: skipped: a DaskPlugin has no children\n")]
#[case::plugin_for_all("apiVersion: kubernetes.dask.org/v1\nkind: ClusterDaskPlugin\nmetadata: {name: p}".to_owned(),
    "ClusterDaskPlugin p: skipped: a ClusterDaskPlugin has no children\n")]
#[case::comments("# nothing".to_owned(), "skipped: there is no object in it\n")]
fn skips_objects_without_children(#[case] manifest: String, #[case] expected: &str) {
    let Run { succeeded, out, err } = run(&["-f", "-"], &manifest);
    assert!(succeeded, "{err}");
    assert_eq!(out, "");
    assert_eq!(err, format!("note: standard input: {expected}"));
}

#[test]
fn fields_that_the_api_server_drops_are_mistakes() {
    let more = CLUSTER.replace("name: c,", "name: c, label: {a: b},") + "replicas: 4\n";
    let Run { succeeded, err, .. } = run(&["-f", "-"], &more);
    assert!(succeeded, "{err}");
    for expected in [
        "mistake: standard input: DaskCluster c: replicas: a DaskCluster has no such field, and the API server drops it; \
         did you mean `spec.worker.replicas`?\n",
        "mistake: standard input: DaskCluster c: metadata.label: `metadata` has no such field, and the API server drops it; \
         did you mean `labels`?\n",
    ] {
        assert!(err.contains(expected), "{err}");
    }
    assert!(!run(&["-f", "-", "--strict"], &more).succeeded);
}

#[test]
fn a_null_spec_is_treated_as_missing() {
    let without = "apiVersion: kubernetes.dask.org/v1\nkind: DaskCluster\nmetadata: {name: c}\n";
    let (missing, null) = (
        run(&["-f", "-"], without),
        run(&["-f", "-"], &format!("{without}spec:\n")),
    );
    assert!(missing.succeeded && null.succeeded, "{}{}", missing.err, null.err);
    assert!(!null.out.is_empty());
    assert_eq!((missing.out, missing.err), (null.out, null.err));
}

#[test]
fn names_are_generated_as_by_the_api_server() {
    let cluster = CLUSTER.replace("name: c,", "generateName: c-,");
    let Run { succeeded, out, err } = run(&["-f", "-"], &format!("{cluster}---{cluster}"));
    assert!(succeeded, "{err}");
    for name in ["c-xxxxx", "c-xxxx2"] {
        let expected = format!(
            "DaskCluster {name}: metadata.generateName: the API server appends five characters to it"
        );
        assert!(err.contains(&expected), "{err}");
        let service = format!("Service {name}-scheduler");
        assert!(objects(&out).contains(&service), "{out}");
    }
    assert!(err.lines().all(|line| line.starts_with("note: ")), "{err}");
}

#[test]
fn the_later_one_of_two_resources_with_the_same_name_is_used() {
    let later = CLUSTER.replace("replicas: 2", "replicas: 1");
    let both = format!("{CLUSTER}---{later}");
    let Run { succeeded, out, err } = run(&["-f", "-"], &both);
    assert!(succeeded);
    assert_eq!(out, run(&["-f", "-"], &later).out);
    assert_eq!(
        err,
        "mistake: standard input, document 2: DaskCluster c: metadata.name: standard input, document 1 has a DaskCluster c in \
         this namespace too, and the later one replaces it: choose another name, or remove one of them\n"
    );
    assert!(!run(&["-f", "-", "--strict"], &both).succeeded);
    let elsewhere = later.replace("namespace: team", "namespace: other");
    assert_eq!(run(&["-f", "-"], &format!("{CLUSTER}---{elsewhere}")).err, "");
}

#[test]
fn reports_a_group_with_the_name_of_a_clusters_child() {
    let Run { succeeded, out, err } = run(&["-f", "-"], &format!("{CLUSTER}---{GROUP}"));
    assert!(succeeded);
    assert_eq!(
        err,
        "mistake: standard input, document 2: DaskWorkerGroup c-default: metadata.name: DaskCluster c makes a DaskWorkerGroup \
         of this name itself, and fails where it finds one that it has not made: choose another name\n"
    );
    let workers = objects(&out)
        .iter()
        .filter(|object| object.starts_with("Pod c-default-worker-"))
        .count();
    assert_eq!(workers, 1, "{out}");

    // An export of a cluster contains groups that the cluster created.
    let exported = GROUP.replace(
        "namespace: team",
        "namespace: team, ownerReferences: [{kind: DaskCluster, name: c}]",
    );
    assert_eq!(run(&["-f", "-"], &format!("{CLUSTER}---{exported}")).err, "");
    let exported = GROUP.replace(
        "namespace: team",
        "namespace: team, labels: {dask.org/component: workergroup}",
    );
    assert_eq!(run(&["-f", "-"], &format!("{CLUSTER}---{exported}")).err, "");
}

#[test]
fn reports_a_cluster_with_the_name_of_a_jobs_child() {
    let job = "
apiVersion: kubernetes.dask.org/v1
kind: DaskJob
metadata: {name: c, namespace: team}
spec:
  job: {spec: {containers: [{name: job, image: dask:1, args: [python, a.py]}]}}
  cluster: {spec: {worker: {replicas: 1}}}
";
    let Run { succeeded, out, err } = run(&["-f", "-"], &format!("{CLUSTER}---{job}"));
    assert!(succeeded, "{err}");
    assert!(
        err.contains(
            "mistake: standard input, document 1: DaskCluster c: metadata.name: DaskJob c makes a DaskCluster of this name itself"
        ),
        "{err}"
    );
    let schedulers = objects(&out)
        .iter()
        .filter(|object| *object == "Service c-scheduler")
        .count();
    assert_eq!(schedulers, 1, "{out}");
}

#[test]
fn reports_autoscalers_of_the_same_group() {
    let second = AUTOSCALER.replace("first", "second");
    let all = format!("{CLUSTER}---{AUTOSCALER}---{second}");
    let Run { succeeded, err, .. } = run(&["-f", "-"], &all);
    assert!(succeeded);
    assert_eq!(
        err,
        "mistake: standard input, document 3: DaskAutoscaler second: spec.cluster: DaskAutoscaler first scales the worker group \
         c-default too, and of several only the oldest is active: change or delete one of them, or name another worker group in \
         spec.workerGroup\n"
    );
    assert!(!run(&["-f", "-", "--strict"], &all).succeeded);
}

#[rstest]
#[case::name_without_the_cluster(
    "default",
    Some("there is no DaskWorkerGroup default of the DaskCluster c in these manifests: write the name")
)]
#[case::misspelt(
    "c-defaults",
    Some("there is no DaskWorkerGroup c-defaults of the DaskCluster c")
)]
#[case::existing("c-default", None)]
fn reports_a_missing_group_of_an_autoscaler(#[case] group: &str, #[case] expected: Option<&str>) {
    let scaler = AUTOSCALER.replace("cluster: c,", &format!("cluster: c, workerGroup: {group},"));
    let Run { succeeded, err, .. } = run(&["-f", "-"], &format!("{CLUSTER}---{scaler}"));
    assert!(succeeded, "{err}");
    match expected {
        Some(expected) => {
            let expected = format!(
                "note: standard input, document 2: DaskAutoscaler first: spec.workerGroup: {expected}"
            );
            assert!(err.starts_with(&expected), "{err}");
        }
        None => assert_eq!(err, ""),
    }
}

#[test]
fn an_address_may_contain_a_namespace_that_another_tool_sets() {
    let address = "[dask, worker, --name, $(DASK_WORKER_NAME), tcp://c-scheduler.team.svc:8786]";
    let group = GROUP.replace("[dask, worker, --name, $(DASK_WORKER_NAME)]", address);
    let manifest = format!("{group}---{CLUSTER}");
    for (manifest, args, is_reported) in [
        (manifest.clone(), &["-f", "-"][..], false),
        (manifest.replace(", namespace: team", ""), &["-f", "-"], false),
        (
            manifest.replace(", namespace: team", ""),
            &["-f", "-", "-n", "other"],
            true,
        ),
    ] {
        let Run { err, .. } = run(args, &manifest);
        assert_eq!(
            err.contains("leads to the namespace `team`"),
            is_reported,
            "{err}"
        );
    }
}
