//! Tests of the `dask-operator render` command with the default components.

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

/// Result of a run of the command.
struct Run {
    succeeded: bool,
    out: String,
    err: String,
}

/// Runs the command with a cache folder that all tests share.
fn run(args: &[&str], stdin: &str) -> Run {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("components");
    let cache = ["--cache-dir", cache.to_str().expect("the path is UTF-8")];
    let cli =
        Cli::try_parse_from(["render"].iter().chain(args).chain(&cache)).expect("the arguments are valid");
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let succeeded = command::run(&cli.render, &mut stdin.as_bytes(), &mut out, &mut err)
        .expect("the output can be written");
    let text = |bytes| String::from_utf8(bytes).expect("the output is UTF-8");
    Run {
        succeeded,
        out: text(out),
        err: text(err),
    }
}

/// Returns the path of an example; an empty name is the folder of all examples.
fn example(name: &str) -> String {
    format!("{}/../../examples/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Returns the kinds and names of the printed objects, in order.
fn objects(out: &str) -> Vec<String> {
    let objects: Vec<Value> = serde_saphyr::from_multiple(out).expect("the output is YAML");
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
fn prints_all_children_of_a_cluster() {
    let Run { succeeded, out, err } = run(&["-f", "-"], CLUSTER);
    assert!(succeeded);
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
    // Metadata that only a cluster sets is removed.
    assert!(!out.contains("ownerReferences") && !out.contains("uid:"), "{out}");
    assert_eq!(run(&["-f", "-"], CLUSTER).out, out);
}

/// Users apply and copy the examples, which must therefore cause no warnings.
#[test]
fn examples_cause_no_warnings() {
    let Run { succeeded, err, .. } = run(&["-f", &example("")], "");
    assert!(succeeded, "{err}");
    assert!(!err.contains("warning"), "{err}");
}

#[test]
fn prints_the_cluster_of_a_job_and_its_children() {
    let Run { succeeded, out, err } = run(&["-f", &example("job.yaml")], "");
    assert!(succeeded, "{err}");
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
fn renders_all_examples() {
    let Run { succeeded, out, err } = run(&["-f", &example("")], "");
    assert!(succeeded, "{err}");
    assert!(objects(&out).len() > 20);
}

#[test]
fn mistakes_are_errors_only_in_strict_mode() {
    let selector = "service: {selector: {dask.org/cluster-name: other}, ports:";
    let copied = CLUSTER.replace("service: {ports:", selector);
    let message = "standard input: DaskCluster c: spec.scheduler.service.selector.dask.org/cluster-name: it selects no scheduler";
    let Run { succeeded, out, err } = run(&["-f", "-"], &copied);
    assert!(
        succeeded && err.starts_with(&format!("mistake: {message}")),
        "{err}"
    );
    assert_eq!(objects(&out).len(), 5);
    let Run { succeeded, out, err } = run(&["-f", "-", "--strict"], &copied);
    assert!(
        !succeeded && err.starts_with(&format!("error: {message}")),
        "{err}"
    );
    assert_eq!(out, "");
    assert!(run(&["-f", "-", "--strict"], CLUSTER).succeeded);
}

#[test]
fn filled_in_fields_cause_no_warnings() {
    let short = "apiVersion: kubernetes.dask.org/v1\nkind: DaskCluster\nmetadata: {name: c}\nspec: {worker: {replicas: 1}}";
    let Run { succeeded, err, .. } = run(&["-f", "-"], short);
    assert!(succeeded && err.is_empty(), "{err}");
    let written = CLUSTER.replace("dask:1", "dask");
    let Run { err, .. } = run(&["-f", "-"], &written);
    assert_eq!(err.matches("can be another image tomorrow").count(), 1, "{err}");
}

#[test]
fn json_output_is_a_single_list() {
    let Run { out, .. } = run(&["-f", "-", "-o", "json"], CLUSTER);
    let list: Value = serde_json::from_str(&out).expect("the output is JSON");
    assert_eq!(list["kind"], "List");
    assert_eq!(list["items"].as_array().map(Vec::len), Some(5));
}

#[test]
fn settings_change_the_children() {
    let dir = tempfile::tempdir().expect("a temporary directory can be created");
    let file = dir.path().join("settings.yaml");
    std::fs::write(&file, "worker-group: {workload: deployment}\n").expect("the file can be written");
    let file = file.to_str().expect("the path is UTF-8");
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
fn a_replaced_component_is_used() {
    let dir = tempfile::tempdir().expect("a temporary directory can be created");
    let file = dir.path().join("mine.wasm");
    std::fs::write(&file, dask_operator_components::JOB.bytes).expect("the file can be written");
    let plugin = format!("cluster={}", file.display());
    let Run { succeeded, out, err } = run(&["-f", "-", "--plugin", &plugin], CLUSTER);
    assert!(!succeeded);
    assert_eq!(out, "");
    assert!(
        err.contains("does not export dask:operator/cluster@0.1.0"),
        "{err}"
    );

    std::fs::write(&file, dask_operator_components::CLUSTER.bytes).expect("the file can be written");
    assert!(run(&["-f", "-", "--plugin", &plugin], CLUSTER).succeeded);
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
fn rejects_invalid_manifests(#[case] manifest: String, #[case] expected: &str) {
    let Run { succeeded, out, err } = run(&["-f", "-"], &manifest);
    assert!(!succeeded);
    assert_eq!(out, "");
    assert!(err.contains(expected), "{err}");
}

#[test]
fn checks_every_document_and_skips_other_kinds() {
    let invalid = CLUSTER.replace("name: c,", "name: C,");
    let other = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}";
    let Run { succeeded, out, err } = run(
        &["-f", "-"],
        &[&invalid, other, CLUSTER, &invalid].join("\n---\n"),
    );
    assert!(!succeeded);
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
fn a_warning_is_printed_once_and_does_not_fail_the_command() {
    let Run { succeeded, out, err } = run(
        &["-f", "-"],
        &CLUSTER.replace(", --name, $(DASK_WORKER_NAME)", ""),
    );
    assert!(succeeded);
    assert_eq!(objects(&out).len(), 5);
    assert_eq!(err.lines().count(), 1, "{err}");
    assert!(
        err.starts_with("warning: standard input: DaskCluster c: spec.worker."),
        "{err}"
    );
}

#[test]
fn a_group_can_precede_its_cluster() {
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

    let Run { succeeded, out, err } = run(&["-f", "-"], group);
    assert!(succeeded);
    assert_eq!(out, "");
    assert!(
        err.contains("DaskWorkerGroup c-more: spec.cluster: there is no DaskCluster c"),
        "{err}"
    );
}
