//! `dask-operator render` with the default components, as somebody at a terminal uses it.

mod manifests;

use std::path::Path;

use clap::Parser;
use dask_operator_render::{RenderArgs, command};
use rstest::rstest;
use serde_json::Value;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    render: RenderArgs,
}

/// What a run gave.
struct Run {
    all_right: bool,
    out: String,
    err: String,
}

fn run(args: &[&str], stdin: &str) -> Run {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("components");
    let cache = ["--cache-dir", cache.to_str().expect("a path of text")];
    let cli = Cli::try_parse_from(["render"].iter().chain(args).chain(&cache)).expect("arguments");
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let all_right = command::run(&cli.render, &mut stdin.as_bytes(), &mut out, &mut err).expect("written");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Run {
        all_right,
        out: text(out),
        err: text(err),
    }
}

fn example(name: &str) -> String {
    format!("{}/../../examples/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Kinds and names, in order.
fn objects(out: &str) -> Vec<String> {
    let objects: Vec<Value> = serde_saphyr::from_multiple(out).expect("YAML");
    let text = |object: &Value, at: &str| {
        object
            .pointer(at)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let title = |object: &Value| format!("{} {}", text(object, "/kind"), text(object, "/metadata/name"));
    objects.iter().map(title).collect()
}

const CLUSTER: &str = "
apiVersion: kubernetes.dask.org/v1
kind: DaskCluster
metadata: {name: c, namespace: team}
spec:
  scheduler:
    spec:
      containers:
      - {name: scheduler, image: dask:1, args: [dask, scheduler], readinessProbe: {httpGet: {path: /health, port: 8787}}}
    service: {ports: [{name: tcp-comm, port: 8786}]}
  worker:
    replicas: 2
    spec: {containers: [{name: worker, image: dask:1, args: [dask, worker, --name, $(DASK_WORKER_NAME)]}]}
";

#[test]
fn a_cluster_and_all_that_follows_from_it() {
    let Run { all_right, out, err } = run(&["-f", "-"], CLUSTER);
    assert!(all_right);
    assert_eq!(err, "");
    let objects = objects(&out);
    assert_eq!(
        objects[..3],
        [
            "Pod c-scheduler",
            "Service c-scheduler",
            "DaskWorkerGroup c-default"
        ]
    );
    assert_eq!(objects.len(), 5);
    assert!(
        objects[3..]
            .iter()
            .all(|object| object.starts_with("Pod c-default-worker-")),
        "{objects:?}"
    );
    assert_eq!(out.matches("namespace: team").count(), 5, "{out}");
    assert!(out.contains("value: tcp://c-scheduler.team.svc:8786"), "{out}");
    // What only a cluster gives has no place on a terminal.
    assert!(!out.contains("ownerReferences") && !out.contains("uid:"), "{out}");
    assert_eq!(run(&["-f", "-"], CLUSTER).out, out);
}

/// They are the first that people apply, and those that they copy.
#[test]
fn no_example_is_warned_of() {
    let Run { all_right, err, .. } = run(&["-f", &example("")], "");
    assert!(all_right, "{err}");
    assert!(!err.contains("warning"), "{err}");
}

#[test]
fn a_job_its_cluster_and_the_clusters_children() {
    let Run { all_right, out, err } = run(&["-f", &example("job.yaml")], "");
    assert!(all_right, "{err}");
    let objects = objects(&out);
    for expected in [
        "DaskCluster simple-job",
        "Pod simple-job-runner",
        "Service simple-job-scheduler",
    ] {
        assert!(objects.iter().any(|object| object == expected), "{objects:?}");
    }
}

#[test]
fn all_examples() {
    let Run { all_right, out, err } = run(&["-f", &example("")], "");
    assert!(all_right, "{err}");
    assert!(objects(&out).len() > 20);
}

#[test]
fn mistakes_are_said_and_errors_where_it_is_strict() {
    let selector = "service: {selector: {dask.org/cluster-name: other}, ports:";
    let copied = CLUSTER.replace("service: {ports:", selector);
    let said = "standard input: DaskCluster c: spec.scheduler.service.selector.dask.org/cluster-name: it selects no scheduler";
    let Run { all_right, out, err } = run(&["-f", "-"], &copied);
    assert!(all_right && err.starts_with(&format!("mistake: {said}")), "{err}");
    assert_eq!(objects(&out).len(), 5);
    let Run { all_right, out, err } = run(&["-f", "-", "--strict"], &copied);
    assert!(!all_right && err.starts_with(&format!("error: {said}")), "{err}");
    assert_eq!(out, "");
    assert!(run(&["-f", "-", "--strict"], CLUSTER).all_right);
}

#[test]
fn what_was_filled_in_is_not_warned_of() {
    let short = "apiVersion: kubernetes.dask.org/v1\nkind: DaskCluster\nmetadata: {name: c}\nspec: {worker: {replicas: 1}}";
    let Run { all_right, err, .. } = run(&["-f", "-"], short);
    assert!(all_right && err.is_empty(), "{err}");
    let written = CLUSTER.replace("dask:1", "dask");
    let Run { err, .. } = run(&["-f", "-"], &written);
    assert_eq!(err.matches("can be another image tomorrow").count(), 1, "{err}");
}

#[test]
fn json_is_one_list() {
    let Run { out, .. } = run(&["-f", "-", "-o", "json"], CLUSTER);
    let list: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(list["kind"], "List");
    assert_eq!(list["items"].as_array().map(Vec::len), Some(5));
}

#[test]
fn settings_change_what_comes_out() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("settings.yaml");
    std::fs::write(&file, "worker-group: {workload: deployment}\n").expect("written");
    let file = file.to_str().expect("a path of text");
    for setting in [
        ["--setting", "worker-group.workload=deployment"],
        ["--settings", file],
    ] {
        let Run { out, err, .. } = run(&["-f", "-", setting[0], setting[1]], CLUSTER);
        let deployments = objects(&out)
            .iter()
            .filter(|object| object.starts_with("Deployment "))
            .count();
        assert_eq!(deployments, 2, "{err}");
    }
}

#[test]
fn a_swapped_component_is_the_one_that_is_asked() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("mine.wasm");
    std::fs::write(&file, dask_operator_components::JOB.bytes).expect("written");
    let plugin = format!("cluster={}", file.display());
    let Run { all_right, out, err } = run(&["-f", "-", "--plugin", &plugin], CLUSTER);
    assert!(!all_right);
    assert_eq!(out, "");
    assert!(
        err.contains("does not export dask:operator/cluster@0.1.0"),
        "{err}"
    );

    std::fs::write(&file, dask_operator_components::CLUSTER.bytes).expect("written");
    assert!(run(&["-f", "-", "--plugin", &plugin], CLUSTER).all_right);
}

#[rstest]
#[case::typo(CLUSTER.replace("worker:", "wroker:"),
    "error: standard input: DaskCluster c: spec.wroker: there is no such field; did you mean `worker`?")]
#[case::name(CLUSTER.replace("name: c,", "name: C,"), "error: standard input: DaskCluster C: metadata.name: ")]
#[case::replicas(CLUSTER.replace("replicas: 2", "replicas: two"), "DaskCluster c: spec.worker.replicas: ")]
#[case::no_spec("apiVersion: kubernetes.dask.org/v1\nkind: DaskJob\nmetadata: {name: j}".to_owned(), "DaskJob j: spec: ")]
#[case::kind(CLUSTER.replace("kind: DaskCluster", "kind: DaskClutser"),
    "DaskClutser c: kind: \"DaskClutser\" is unknown; did you mean `DaskCluster`?")]
#[case::version(CLUSTER.replace("org/v1", "org/v2"),
    "apiVersion: \"kubernetes.dask.org/v2\" is unknown: write kubernetes.dask.org/v1")]
#[case::no_name(CLUSTER.replace("name: c,", ""), "metadata.name: it is missing")]
#[case::no_kind("a: b".to_owned(), "error: standard input: kind: it is missing")]
#[case::syntax("a: [".to_owned(), "error: standard input: line 1")]
fn a_wrong_manifest(#[case] manifest: String, #[case] expected: &str) {
    let Run { all_right, out, err } = run(&["-f", "-"], &manifest);
    assert!(!all_right);
    assert_eq!(out, "");
    assert!(err.contains(expected), "{err}");
}

#[test]
fn every_document_is_checked_and_others_are_skipped() {
    let wrong = CLUSTER.replace("name: c,", "name: C,");
    let other = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}";
    let Run { all_right, out, err } = run(&["-f", "-"], &[&wrong, other, CLUSTER, &wrong].join("\n---\n"));
    assert!(!all_right);
    assert_eq!(out, "");
    for expected in [
        "error: standard input, document 1: DaskCluster C: metadata.name: ",
        "note: standard input, document 2: ConfigMap m: skipped: v1 ConfigMap is no Dask resource",
        "error: standard input, document 4: DaskCluster C: metadata.name: ",
    ] {
        assert!(err.contains(expected), "{err}");
    }
    assert!(!err.contains("document 3"), "{err}");
}

#[test]
fn a_warning_is_said_once_and_stops_nothing() {
    let Run { all_right, out, err } = run(
        &["-f", "-"],
        &CLUSTER.replace(", --name, $(DASK_WORKER_NAME)", ""),
    );
    assert!(all_right);
    assert_eq!(objects(&out).len(), 5);
    assert_eq!(err.lines().count(), 1, "{err}");
    assert!(
        err.starts_with("warning: standard input: DaskCluster c: spec.worker."),
        "{err}"
    );
}

#[test]
fn a_group_finds_its_cluster_wherever_it_stands() {
    let group = "apiVersion: kubernetes.dask.org/v1\nkind: DaskWorkerGroup\n\
                 metadata: {name: c-more, namespace: team}\n\
                 spec: {cluster: c, worker: {replicas: 1, spec: {containers: [{name: worker, image: dask:1}]}}}\n";
    let Run { out, err, .. } = run(&["-f", "-"], &format!("{group}---{CLUSTER}"));
    assert!(
        objects(&out)
            .iter()
            .any(|object| object.starts_with("Pod c-more-worker-")),
        "{out}{err}"
    );

    let Run { all_right, out, err } = run(&["-f", "-"], group);
    assert!(all_right);
    assert_eq!(out, "");
    assert!(
        err.contains("DaskWorkerGroup c-more: spec.cluster: there is no DaskCluster c"),
        "{err}"
    );
}
