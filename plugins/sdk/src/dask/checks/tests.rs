mod forms;

use serde_json::json;

use super::*;
use crate::contract::Severity;
use crate::dask::defaults;

/// Checks the spec of a cluster after one change.
fn checked(change: impl FnOnce(&mut Value)) -> Checks {
    let mut spec = json!({});
    defaults::cluster_spec(&mut spec, "c", Some("dask:2026.1.0"));
    change(&mut spec);
    let mut checks = Checks::default();
    checks.cluster_spec(&spec, "spec", "c", &Metadata::default());
    checks
}

/// Returns the findings about the spec of a cluster after one change, as `severity field`.
fn findings(change: impl FnOnce(&mut Value)) -> Vec<String> {
    summary(checked(change))
}

/// Returns each finding as `severity field`.
pub(super) fn summary(checks: Checks) -> Vec<String> {
    let text = |finding: Finding| {
        let severity = match finding.severity {
            Severity::Error => "error",
            Severity::Mistake => "mistake",
            Severity::Warning => "warning",
        };
        format!("{severity} {}", finding.field)
    };
    checks.into_findings().into_iter().map(text).collect()
}

/// Returns the message of each finding.
pub(super) fn messages(checks: Checks) -> Vec<String> {
    let findings = checks.into_findings().into_iter();
    findings.map(|finding| finding.message).collect()
}

#[test]
fn accepts_the_defaults() {
    assert_eq!(findings(|_| ()), [""; 0]);
}

#[test]
fn a_sidecar_can_have_the_target_port() {
    let found = findings(|spec| {
        let ports = json!([{"name": "proxy", "containerPort": 1}]);
        spec["scheduler"]["spec"]["initContainers"] =
            json!([{"name": "p", "image": "i:1", "restartPolicy": "Always", "ports": ports}]);
        spec["scheduler"]["service"]["ports"][1]["targetPort"] = json!("proxy");
    });
    assert_eq!(found, [""; 0]);
}

#[test]
fn reports_the_field_of_each_problem() {
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 46] = [
        (|s| s["worker"] = Value::Null, "error spec.worker"),
        (|s| s["worker"] = json!("x"), "error spec.worker"),
        (
            |s| s["worker"]["replicas"] = json!(-1),
            "error spec.worker.replicas",
        ),
        (
            |s| s["worker"]["replicas"] = json!("2"),
            "error spec.worker.replicas",
        ),
        (
            |s| s["worker"]["replicas"] = json!(1.5),
            "error spec.worker.replicas",
        ),
        (|s| s["worker"]["spec"] = Value::Null, "error spec.worker.spec"),
        (
            |s| s["worker"]["spec"]["containers"] = json!({}),
            "error spec.worker.spec.containers",
        ),
        (
            |s| s["worker"]["spec"]["containers"][0]["name"] = json!(""),
            "error spec.worker.spec.containers[0].name",
        ),
        (
            |s| s["worker"]["spec"]["containers"][0]["image"] = Value::Null,
            "error spec.worker.spec.containers[0].image",
        ),
        (
            |s| s["worker"]["spec"]["containers"][0]["image"] = json!("dask"),
            "warning spec.worker.spec.containers[0].image",
        ),
        (
            |s| s["worker"]["spec"]["restartPolicy"] = json!("never"),
            "error spec.worker.spec.restartPolicy",
        ),
        (
            |s| s["worker"]["spec"]["containers"][0]["env"] = json!({"A": "b"}),
            "error spec.worker.spec.containers[0].env",
        ),
        (
            |s| s["worker"]["spec"]["containers"][0]["env"] = json!([{"name": "A", "value": 1}]),
            "error spec.worker.spec.containers[0].env[0].value",
        ),
        (
            |s| s["worker"]["spec"]["containers"][0]["args"][6] = json!(8788),
            "error spec.worker.spec.containers[0].args[6]",
        ),
        (
            |s| s["worker"]["spec"]["initContainers"] = json!([{"name": "worker", "image": "i"}]),
            "error spec.worker.spec.containers[0].name",
        ),
        (
            |s| s["worker"]["spec"]["containers"][0]["args"] = json!(["dask", "worker"]),
            "warning spec.worker.spec.containers[0].args",
        ),
        (
            |s| s["worker"]["metadata"] = json!({"labels": {"a": 1}}),
            "error spec.worker.metadata.labels.a",
        ),
        (
            |s| s["worker"]["metadata"] = json!({"labels": {"user": "jane@corp.example"}}),
            "error spec.worker.metadata.labels.user",
        ),
        (
            |s| s["worker"]["metadata"] = json!({"labels": {"cost centre": "1"}}),
            "error spec.worker.metadata.labels[cost centre]",
        ),
        (
            |s| s["scheduler"]["metadata"] = json!({"annotations": {"a b": "any text & sign"}}),
            "error spec.scheduler.metadata.annotations[a b]",
        ),
        (
            |s| s["scheduler"]["spec"]["containers"][0]["livenessProbe"]["httpGet"]["port"] = json!("8787"),
            "error spec.scheduler.spec.containers[0].livenessProbe.httpGet.port",
        ),
        (
            |s| s["scheduler"]["service"]["ports"][0]["targetPort"] = json!("8786"),
            "error spec.scheduler.service.ports[0].targetPort",
        ),
        (
            |s| s["scheduler"]["service"]["ports"][1]["targetPort"] = json!("dashboard"),
            "mistake spec.scheduler.service.ports[1].targetPort",
        ),
        (
            |s| {
                s["scheduler"]["spec"]["containers"][0]["livenessProbe"]["httpGet"]["port"] =
                    json!("dashboard")
            },
            "mistake spec.scheduler.spec.containers[0].livenessProbe.httpGet.port",
        ),
        (
            |s| {
                s["scheduler"]["spec"]["containers"][0]["readinessProbe"]["httpGet"]["port"] =
                    json!("dashboard")
            },
            "error spec.scheduler.spec.containers[0].readinessProbe.httpGet.port",
        ),
        (
            |s| {
                s["scheduler"]["service"]["publishNotReadyAddresses"] = json!(true);
                s["scheduler"]["spec"]["containers"][0]["readinessProbe"]["httpGet"]["port"] =
                    json!("dashboard")
            },
            "mistake spec.scheduler.spec.containers[0].readinessProbe.httpGet.port",
        ),
        (
            |s| s["worker"]["spec"]["containers"][0]["readinessProbe"] = json!({"tcpSocket": {"port": "p"}}),
            "mistake spec.worker.spec.containers[0].readinessProbe.tcpSocket.port",
        ),
        (
            |s| {
                s["worker"]["spec"]["containers"][0] =
                    json!({"name": "worker", "imagee": "i:1", "args": ["--name", "$(DASK_WORKER_NAME)"]})
            },
            "error spec.worker.spec.containers[0].imagee",
        ),
        (
            |s| s["worker"]["spec"]["containers"][0]["env"] = json!([{"name": "A", "value": false}]),
            "error spec.worker.spec.containers[0].env[0].value",
        ),
        (
            |s| {
                s["worker"]["spec"]["volumes"] =
                    json!([{"name": "v", "secret": {"secretName": "s", "defaultMode": 400}}])
            },
            "mistake spec.worker.spec.volumes[0].secret.defaultMode",
        ),
        (
            |s| s["scheduler"]["spec"]["containers"][0]["image"] = json!("dask:latest"),
            "warning spec.scheduler.spec.containers[0].image",
        ),
        (
            |s| {
                s["scheduler"]["service"]["clusterIP"] = json!("None");
                s["scheduler"]["service"]["ports"] = json!([{"name": "x", "port": 1}]);
            },
            "warning spec.scheduler.service.ports",
        ),
        (
            |s| s["scheduler"]["service"]["ports"][1]["name"] = json!("tcp-dashboard"),
            "warning spec.scheduler.service.ports[1].name",
        ),
        (
            |s| {
                s["scheduler"]["spec"]["containers"] = json!([
                    {"name": "side", "image": "i:1"},
                    {"name": "scheduler", "image": "i:1", "args": ["dask", "scheduler"], "readinessProbe": {},
                     "ports": [{"name": "http-dashboard", "containerPort": 8787}]},
                ]);
            },
            "error spec.scheduler.service.ports[0].targetPort",
        ),
        (
            |s| {
                s["worker"]["spec"]["containers"] = json!([
                    {"name": "side", "image": "side"},
                    {"name": "w", "image": "dask", "args": ["dask", "worker", "--name", "$(DASK_WORKER_NAME)"]},
                ]);
            },
            "warning spec.worker.spec.containers[1].image",
        ),
        (
            |s| s["scheduler"]["service"]["ports"] = json!([]),
            "error spec.scheduler.service.ports",
        ),
        (
            |s| s["scheduler"]["service"]["ports"][0]["name"] = json!("comm"),
            "warning spec.scheduler.service.ports",
        ),
        (
            |s| s["scheduler"]["service"]["ports"] = json!([{"name": "x", "port": 1}]),
            "error spec.scheduler.service.ports",
        ),
        (
            |s| s["scheduler"]["service"]["selector"]["dask.org/cluster-name"] = json!("d"),
            "mistake spec.scheduler.service.selector.dask.org/cluster-name",
        ),
        (
            |s| s["scheduler"]["service"]["selector"]["app"] = json!("d"),
            "warning spec.scheduler.service.selector.app",
        ),
        (
            |s| s["scheduler"]["spec"]["containers"][0]["readinessProbe"] = Value::Null,
            "warning spec.scheduler.spec.containers[0].readinessProbe",
        ),
        (|s| s["idleTimeout"] = json!("1h"), "error spec.idleTimeout"),
        // Values that work like another value are mistakes.
        (
            |s| s["idleTimeout"] = json!(999_999_999_999_i64),
            "mistake spec.idleTimeout",
        ),
        (|s| s["idleTimeout"] = json!(u64::MAX), "error spec.idleTimeout"),
        (
            |s| s["worker"]["drainTimeoutSeconds"] = json!(i64::MAX),
            "mistake spec.worker.drainTimeoutSeconds",
        ),
        (
            |s| s["worker"]["replicas"] = json!(20_001),
            "mistake spec.worker.replicas",
        ),
    ];
    for (change, expected) in cases {
        assert_eq!(findings(change), [expected]);
    }
}

/// Errors are limited to values that neither the API server nor Dask can work with.
#[test]
fn services_that_work_cause_no_error() {
    fn calls_an_address(spec: &mut Value) {
        let args = json!([
            "dask",
            "worker",
            "tcp://c-scheduler:9000",
            "--name",
            "$(DASK_WORKER_NAME)"
        ]);
        spec["worker"]["spec"]["containers"][0]["args"] = args;
    }
    type Change = fn(&mut Value);
    let cases: [(Change, &[&str]); 12] = [
        (
            |s| {
                s["scheduler"]["service"]["clusterIP"] = json!("None");
                s["scheduler"]["service"]["ports"][0]["targetPort"] = json!("nobody");
            },
            &[],
        ),
        (
            |s| {
                s["scheduler"]["service"]["clusterIP"] = json!("None");
                s["scheduler"]["service"]["ports"][0]["targetPort"] = json!("8786");
            },
            &["error spec.scheduler.service.ports[0].targetPort"],
        ),
        (
            |s| {
                s["scheduler"]["service"]["clusterIP"] = json!("None");
                s["scheduler"]["service"]["ports"] = json!([]);
            },
            &["warning spec.scheduler.service.ports"],
        ),
        (
            |s| {
                s["scheduler"]["service"]["clusterIP"] = json!("None");
                s["scheduler"]["service"]["ports"] = json!({"name": "tcp-comm"});
            },
            &["error spec.scheduler.service.ports"],
        ),
        (
            |s| {
                calls_an_address(s);
                s["scheduler"]["service"]["ports"] =
                    json!([{"name": "comm", "port": 9000, "targetPort": 8786}]);
            },
            &["mistake spec.scheduler.service.ports"],
        ),
        (
            |s| {
                let variable = json!({"name": "DASK_SCHEDULER_ADDRESS", "value": "tcp://c-scheduler:9000"});
                s["worker"]["spec"]["containers"][0]["env"] = json!([variable]);
                s["scheduler"]["service"]["ports"] =
                    json!([{"name": "comm", "port": 9000, "targetPort": 8786}]);
            },
            &["mistake spec.scheduler.service.ports"],
        ),
        (
            |s| {
                calls_an_address(s);
                s["scheduler"]["service"]["ports"] = json!([]);
            },
            &["error spec.scheduler.service.ports"],
        ),
        (
            |s| {
                calls_an_address(s);
                s["scheduler"]["service"]["ports"][0]["targetPort"] = json!("nobody");
            },
            &[
                "mistake spec.worker.spec.containers[0].args[2]",
                "mistake spec.scheduler.service.ports[0].targetPort",
            ],
        ),
        (
            |s| {
                calls_an_address(s);
                s["scheduler"]["spec"]["containers"][0]["readinessProbe"]["httpGet"]["port"] =
                    json!("nobody");
            },
            &[
                "mistake spec.worker.spec.containers[0].args[2]",
                "mistake spec.scheduler.spec.containers[0].readinessProbe.httpGet.port",
            ],
        ),
        (
            |s| {
                s["scheduler"]["service"]["selector"] = json!({});
                s["scheduler"]["service"]["ports"][0]["targetPort"] = json!("nobody");
            },
            &[],
        ),
        (
            |s| {
                let ports = json!([{"name": "tcp-comm", "port": 8786, "targetPort": "nobody"}]);
                s["scheduler"]["service"] =
                    json!({"type": "ExternalName", "externalName": "s.example", "ports": ports});
            },
            &[],
        ),
        (
            |s| s["worker"]["metadata"] = json!({"annotations": {"Corp.Example/Owner": "me"}}),
            &[],
        ),
    ];
    for (at, (change, expected)) in cases.into_iter().enumerate() {
        assert_eq!(findings(change), expected, "case {at}");
    }
}

#[test]
fn a_container_without_an_image_is_an_error() {
    let mut spec = json!({"worker": {"spec": {"containers": [{"name": "worker"}]}}});
    defaults::cluster_spec(&mut spec, "c", None);
    let mut checks = Checks::default();
    checks.cluster_spec(&spec, "spec", "c", &Metadata::default());
    let sentences: Vec<String> = checks.into_findings().iter().map(Finding::sentence).collect();
    let sentence = |part: &str| {
        format!(
            "spec.{part}.spec.containers[0].image: a container needs an image, as `image: ghcr.io/dask/dask:2026.8.0`"
        )
    };
    assert_eq!(sentences, [sentence("worker"), sentence("scheduler")]);
}

#[test]
fn the_messages_of_limits_contain_the_remedy() {
    let mut spec = json!({"idleTimeout": 315_360_001, "worker": {"replicas": 1_000_000}});
    defaults::cluster_spec(&mut spec, "c", Some("dask:2026.1.0"));
    let mut checks = Checks::default();
    checks.cluster_spec(&spec, "spec", "c", &Metadata::default());
    let sentences: Vec<String> = checks.into_findings().iter().map(Finding::sentence).collect();
    assert_eq!(
        sentences,
        [
            "spec.worker.replicas: a worker group can have 20000 workers, and gets no more: lower it, and make further groups for \
             the rest",
            "spec.idleTimeout: 315360001 seconds are more than ten years, and count as ten years: write 0 if the cluster must \
             never be deleted",
        ]
    );
}

#[test]
fn a_missing_target_port_is_a_mistake_if_the_selector_does_not_match() {
    let found = findings(|spec| {
        let service = &mut spec["scheduler"]["service"];
        service["selector"]["dask.org/cluster-name"] = json!("d");
        service["ports"][0]["targetPort"] = json!("elsewhere");
    });
    assert_eq!(
        found,
        [
            "mistake spec.scheduler.service.selector.dask.org/cluster-name",
            "mistake spec.scheduler.service.ports[0].targetPort",
        ]
    );
}

#[test]
fn rejects_a_cluster_without_spec() {
    let mut checks = Checks::default();
    checks.cluster_spec(&Value::Null, "spec", "c", &Metadata::default());
    assert_eq!(checks.into_findings()[0].field, "spec");
}
