//! Tests of the messages about values of the wrong type.

use serde_json::json;

use super::*;

/// Returns the sentences about the spec of a cluster after one change.
fn sentences(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let findings = checked(change).into_findings();
    findings.iter().map(Finding::sentence).collect()
}

#[test]
fn the_message_contains_a_valid_example() {
    let cases = [
        (
            "command",
            json!("python a.py"),
            r#"command: `command` must be a list, and text stands there: write it as `["python", "a.py"]`"#,
        ),
        (
            "command",
            json!("sh -c 'python a.py'"),
            r#"command: `command` must be a list, and text stands there: write it as `["python", "a.py"]`"#,
        ),
        (
            "env",
            json!({"A": "b"}),
            "env: `env` must be a list, and an object stands there: write it as `[{name: A, value: b}]`",
        ),
        (
            "env",
            json!(["A=b"]),
            "env[0]: a variable must be an object, and text stands there: write one as `{name: A, value: b}`",
        ),
        (
            "env",
            json!([{"name": "A", "value": 511}]),
            "env[0].value: it must be text, and YAML takes it for the number 511: put it into quotes, as you have written it",
        ),
        (
            "ports",
            json!([8788]),
            "ports[0]: a port must be an object, and 8788 stands there: write one as `{containerPort: 8786}`",
        ),
        (
            "image",
            json!(2025.1),
            "image: it must be text, and YAML takes it for the number 2025.1: put it into quotes, as you have written it",
        ),
        (
            "image",
            json!("https://ghcr.io/dask/dask:1"),
            "image: `https://ghcr.io/dask/dask:1` can't be read as the name of an image: leave out `https://`",
        ),
    ];
    for (field, value, sentence) in cases {
        let found = sentences(|spec| spec["worker"]["spec"]["containers"][0][field] = value);
        assert_eq!(found, [format!("spec.worker.spec.containers[0].{sentence}")]);
    }
    let found = sentences(|spec| spec["worker"]["spec"]["volumes"] = json!({"name": "data"}));
    assert_eq!(
        found,
        [
            "spec.worker.spec.volumes: `volumes` must be a list, and an object stands there: write it as \
             `[{name: data, emptyDir: {}}]`"
        ]
    );
}

#[test]
fn reports_yaml_booleans() {
    let found = sentences(|spec| spec["worker"]["metadata"] = json!({"labels": {"a": true}}));
    assert_eq!(
        found,
        [
            "spec.worker.metadata.labels.a: it must be text, and YAML takes words such as `no`, `off` and `on` for true or false, \
             here for true: put the one that you mean into quotes"
        ]
    );
}

#[test]
fn reports_invalid_service_ports() {
    let with = |ports: Value| sentences(|spec| spec["scheduler"]["service"]["ports"] = ports);
    assert_eq!(
        with(json!([{"name": "tcp-comm", "port": 70000}, {"name": "http-dashboard", "port": 0}])),
        [
            "spec.scheduler.service.ports[0].port: 70000 can't be used: write one from 1 to 65535, as `port: 8786`",
            "spec.scheduler.service.ports[1].port: 0 can't be used: write one from 1 to 65535, as `port: 8786`",
        ]
    );
    assert_eq!(
        with(json!([{"name": "tcp-comm", "targetPort": 8786}])),
        [
            "spec.scheduler.service.ports[0].port: a port needs a number: write one from 1 to 65535, as `port: 8786`"
        ]
    );
    assert_eq!(
        with(json!([8786])),
        [
            "spec.scheduler.service.ports[0]: a port must be an object, and 8786 stands there: write one as \
             `{name: tcp-comm, port: 8786}`"
        ]
    );
}

#[test]
fn numbers_beyond_the_api_servers_range_are_errors() {
    for (replicas, expected) in [
        (i64::from(i32::MAX), "mistake"),
        (i64::from(i32::MAX) + 1, "error"),
    ] {
        let found = findings(|spec| spec["worker"]["replicas"] = json!(replicas));
        assert_eq!(found, [format!("{expected} spec.worker.replicas")]);
    }
}

#[test]
fn rejects_a_list_as_spec() {
    let mut checks = Checks::default();
    checks.cluster_spec(&json!(["a"]), "spec", "c", &Metadata::default());
    let sentences: Vec<String> = checks.into_findings().iter().map(Finding::sentence).collect();
    assert_eq!(
        sentences,
        [
            "spec: it must be an object, and a list stands there: write an object with `scheduler` and `worker`"
        ]
    );
}

#[test]
fn reports_containers_in_a_misspelt_field() {
    for (pod_spec, sentence) in [
        (
            json!({"contaienrs": [{"name": "worker"}]}),
            "spec.worker.spec.contaienrs: a pod's spec has no field `contaienrs`, and needs containers: did you mean `containers`?",
        ),
        (
            json!({"template": {"spec": {"containers": []}}}),
            "spec.worker.spec.template: a pod's spec has no field `template`, and needs containers: write the fields of its \
             `spec` in its place",
        ),
    ] {
        assert_eq!(sentences(|spec| spec["worker"]["spec"] = pod_spec), [sentence]);
    }
}
