use serde_json::json;

use super::super::tests::summary;
use super::*;

/// Returns a scheduler of which only the cluster's name is known.
fn of_cluster(cluster: &str) -> CalledScheduler<'_> {
    CalledScheduler {
        cluster,
        namespace: None,
        scheduler: &Value::Null,
    }
}

#[test]
fn recognises_workers_that_use_the_operators_address() {
    let with = |args: &[&str]| call_the_service(&json!({"containers": [{"args": args}]}));
    for args in [
        &["dask", "worker", "--name", "$(DASK_WORKER_NAME)"][..],
        &["dask-worker", "$(DASK_SCHEDULER_ADDRESS)", "--nthreads", "2"],
        &["sh", "-c", "exec dask-worker --name $DASK_WORKER_NAME"],
    ] {
        assert!(with(args), "{args:?}");
    }
    for args in [
        &["dask", "worker", "tcp://c-scheduler:9000"][..],
        &["dask", "worker", "c-scheduler:9000"],
        &["dask", "worker", "$(ADDRESS)"],
        &["dask", "worker", "$DASK_SCHEDULER_ADDRESS"],
        &["dask", "worker", "--scheduler-file=/shared/scheduler.json"],
        &["dask", "worker", "--preload", "mine.py"],
        &["sh", "-c", "dask-worker `cat address`"],
        &["start", "--name", "$(DASK_WORKER_NAME)"],
        &[],
    ] {
        assert!(!with(args), "{args:?}");
    }
    let variable = json!({"name": SCHEDULER_ADDRESS, "value": "tcp://elsewhere:8786"});
    let with_variable = json!({"containers": [{"args": ["dask", "worker"], "env": [variable]}]});
    assert!(!call_the_service(&with_variable));
}

#[test]
fn reports_addresses_of_other_schedulers() {
    let with = |args: &[&str]| {
        let mut checks = Checks::default();
        let image = "ghcr.io/dask/dask:2026.8.0";
        let spec = json!({"containers": [{"name": "worker", "image": image, "args": args}]});
        worker(&mut checks, &spec, "w", of_cluster("c"));
        summary(checks)
    };
    for valid in [
        "tcp://c-scheduler:8786",
        "tls://c-scheduler.ns.svc.cluster.local:8786",
        "tcp://$(C_SCHEDULER_SERVICE_HOST):8786",
        "$(DASK_SCHEDULER_ADDRESS)",
        "https://example.com/preload.py",
        "c-scheduler:8786",
        "$(OTHER):8786",
        "file:1a",
    ] {
        assert_eq!(with(&["dask-worker", valid]), [""; 0], "{valid}");
    }
    assert_eq!(
        with(&["dask-worker", "--contact-address", "tcp://1.2.3.4:1"]),
        [""; 0]
    );
    for invalid in [
        "tcp://c-service.default.svc:8786",
        "tcp://c-scheduler-2:8786",
        "ws://localhost:8786",
        "tcp://[::1]:8786",
        "other-scheduler:8786",
        "$DASK_SCHEDULER_ADDRESS",
        "${DASK_SCHEDULER_ADDRESS}",
    ] {
        assert_eq!(
            with(&["dask-worker", invalid]),
            ["mistake w.containers[0].args[1]"],
            "{invalid}"
        );
    }
    for own in [
        "tcp://my-own-dask:8786",
        "tcp://10.0.0.5:8786",
        "10.0.0.5:8786",
        "tcp://[fd00::5]:8786",
        "tls://dask.corp.example:8786",
        "tls://c-scheduler.corp.example:8786",
    ] {
        assert_eq!(
            with(&["dask-worker", own]),
            ["warning w.containers[0].args[1]"],
            "{own}"
        );
    }
    assert_eq!(
        with(&["sh", "-c", "exec dask-worker tcp://x-scheduler:1"]),
        ["mistake w.containers[0].args[2]"]
    );
}

#[test]
fn ignores_addresses_that_are_not_the_schedulers() {
    for args in [
        &[
            "dockerize",
            "-wait",
            "tcp://postgres:5432",
            "dask-worker",
            "--name",
            "$(DASK_WORKER_NAME)",
        ][..],
        &[
            "bash",
            "-c",
            "wait-for-it.sh -t 60 tcp://redis.cache.svc:6379 && exec dask worker --nthreads 2",
        ],
        &[
            "start-worker",
            "-b",
            "tcp://mq:1883",
            "--name",
            "$(DASK_WORKER_NAME)",
        ],
        &[
            "dask",
            "worker",
            "$(DASK_SCHEDULER_ADDRESS)",
            "--preload",
            "s.py",
            "redis-cache:6379",
        ],
        &[
            "dask",
            "worker",
            "--no-nanny",
            "tcp://c-scheduler:8786",
            "redis-cache:6379",
        ],
        &["dask", "worker", "--preload", "x.py", "--", "tcp://mq:1883"],
    ] {
        let mut checks = Checks::default();
        let spec = json!({"containers": [{"name": "worker", "args": args}]});
        worker(&mut checks, &spec, "w", of_cluster("c"));
        assert_eq!(summary(checks), [""; 0], "{args:?}");
    }
}

#[test]
fn warns_if_the_entrypoint_may_start_a_shell() {
    for (container, expected) in [
        (
            json!({"image": "mine:1", "args": ["dask-worker", "$DASK_SCHEDULER_ADDRESS"]}),
            "warning w.containers[0].args[1]",
        ),
        (
            json!({"image": "mine:1", "command": ["dask-worker"], "args": ["$DASK_SCHEDULER_ADDRESS"]}),
            "mistake w.containers[0].args[0]",
        ),
    ] {
        let mut checks = Checks::default();
        worker(
            &mut checks,
            &json!({"containers": [container]}),
            "w",
            of_cluster("c"),
        );
        assert_eq!(summary(checks), [expected], "{container}");
    }
}

#[test]
fn accepts_other_addresses_of_the_scheduler() {
    let scheduler = json!({
        "spec": {"hostname": "brain", "subdomain": "dask", "containers": [{"args": ["dask", "scheduler"]}]},
        "service": {"clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7", "fd00::7"], "loadBalancerIP": "192.0.2.7",
            "externalIPs": ["192.0.2.8"], "externalName": "dask.corp.example"},
    });
    let called = CalledScheduler {
        cluster: "c",
        namespace: Some("team"),
        scheduler: &scheduler,
    };
    for (host, expected) in [
        ("10.96.0.7", None),
        ("[fd00::7]", None),
        ("192.0.2.7", None),
        ("192.0.2.8", None),
        ("dask.corp.example", None),
        ("brain", None),
        ("brain.dask.team.svc", None),
        ("10.96.0.8", Some("warning w.containers[0].args[1]")),
        ("x-scheduler.team", Some("mistake w.containers[0].args[1]")),
    ] {
        let mut checks = Checks::default();
        let address = format!("tcp://{host}:8786");
        let spec = json!({"containers": [{"args": ["dask-worker", address]}]});
        worker(&mut checks, &spec, "w", called);
        assert_eq!(summary(checks), Vec::from_iter(expected), "{host}");
    }
}

#[test]
fn compares_with_what_is_known_of_the_scheduler() {
    let ports = json!([{"name": "tcp-comm", "port": 8786}, {"name": "http-dashboard", "port": 8787}]);
    let container = json!({"args": ["dask", "scheduler", "--protocol", "ws"]});
    let scheduler = json!({"spec": {"containers": [container]}, "service": {"ports": ports}});
    let called = CalledScheduler {
        cluster: "c",
        namespace: Some("team"),
        scheduler: &scheduler,
    };
    let with = |word: &str, variable: Option<&str>| {
        let mut args = vec!["dask", "worker"];
        args.extend(Some(word).filter(|word| !word.is_empty()));
        let variable = variable.map(|value| json!({"name": "DASK_SCHEDULER_ADDRESS", "value": value}));
        let env: Vec<Value> = variable.into_iter().collect();
        let mut checks = Checks::default();
        worker(
            &mut checks,
            &json!({"containers": [{"args": args, "env": env}]}),
            "w",
            called,
        );
        summary(checks)
    };
    for valid in [
        "c-scheduler:8786",
        "ws://c-scheduler:8786",
        "ws://c-scheduler.team:8786",
        "ws://c-scheduler.team.svc.cluster.local:8786",
    ] {
        assert_eq!(with(valid, None), [""; 0], "{valid}");
        assert_eq!(with("", Some(valid)), [""; 0], "{valid}");
    }
    for invalid in [
        "tcp://c-scheduler:8786",
        "ws://c-scheduler.other.svc:8786",
        "ws://c-scheduler:8787",
        "c-scheduler:9000",
        "tcp://c-service.team:8786",
    ] {
        assert_eq!(
            with(invalid, None),
            ["mistake w.containers[0].args[2]"],
            "{invalid}"
        );
        assert_eq!(
            with("", Some(invalid)),
            ["mistake w.containers[0].env[0].value"],
            "{invalid}"
        );
    }
    assert_eq!(with("", Some("")), ["mistake w.containers[0].env[0].value"]);
    // The argument takes precedence over the variable.
    assert_eq!(with("c-scheduler:8786", Some("tcp://x:1")), [""; 0]);
}

#[test]
fn reports_pods_that_cannot_resolve_services() {
    let with = |changes: Value| {
        let mut pod_spec = json!({"containers": [{"args": ["dask", "worker"]}]});
        for (name, value) in changes.as_object().into_iter().flatten() {
            pod_spec[name] = value.clone();
        }
        let mut checks = Checks::default();
        worker(&mut checks, &pod_spec, "w", of_cluster("c"));
        dns(&mut checks, &pod_spec, "w");
        summary(checks)
    };
    for valid in [
        json!({}),
        json!({"dnsPolicy": "ClusterFirst"}),
        json!({"hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet"}),
        json!({"dnsPolicy": "Default", "dnsConfig": {"nameservers": ["10.96.0.10"]}}),
        json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["10.96.0.10"]}}),
        json!({"hostNetwork": true, "hostAliases": [{"ip": "10.1.2.3", "hostnames": ["c-scheduler.team.svc"]}]}),
        json!({"hostNetwork": true, "containers": [{"args": ["dask", "worker", "tcp://$(HOST):8786"]}]}),
        json!({"hostNetwork": true, "containers": [{"args": ["start.sh"]}]}),
    ] {
        assert_eq!(with(valid.clone()), [""; 0], "{valid}");
    }
    for invalid in [
        json!({"hostNetwork": true}),
        json!({"hostNetwork": true, "dnsPolicy": "ClusterFirst"}),
        json!({"hostNetwork": true, "dnsPolicy": "Default"}),
        json!({"dnsPolicy": "Default"}),
    ] {
        assert_eq!(with(invalid.clone()), ["mistake w.dnsPolicy"], "{invalid}");
    }
    assert_eq!(
        with(json!({"dnsPolicy": "None"})),
        ["error w.dnsConfig.nameservers"]
    );
}
