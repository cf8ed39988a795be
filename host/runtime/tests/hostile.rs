//! Tests with components that misbehave: each call returns an error that names the
//! failure, and the host continues to work.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{load, load_good, observation};
use dask_operator_runtime::contract::{
    ChildAction, ChildKey, Observation, ObservedKind, ObservedObject, Plan, ResourceKind,
};
use dask_operator_runtime::{
    Allocation, CallError, CallLimits, CallObserver, CallReport, Component, Engine, EngineConfig, Failure,
    Interface, until,
};
use parking_lot::Mutex;
use rstest::rstest;

const MIB: usize = 1 << 20;

fn engine(allocation: Allocation) -> Engine {
    Engine::new(EngineConfig {
        allocation,
        ..EngineConfig::default()
    })
    .expect("an engine")
}

/// Returns limits with a short deadline, for components that do not end.
fn short() -> CallLimits {
    CallLimits {
        deadline: Duration::from_millis(200),
        ..CallLimits::default()
    }
}

/// Returns limits with a long deadline, so that tests pass on a busy machine.
fn long() -> CallLimits {
    CallLimits {
        deadline: Duration::from_secs(60),
        ..CallLimits::default()
    }
}

fn limits_of(name: &str) -> CallLimits {
    if name.starts_with("endless") {
        short()
    } else {
        long()
    }
}

fn plan(component: &Component) -> Result<Plan, CallError> {
    component
        .plan(Interface::Cluster, &observation())
        .map(|answer| answer.expect("no refusal"))
}

/// Asserts that calls of a well-behaved component still succeed.
fn still_works(good: &Component) {
    let plan = plan(good).expect("a plan");
    assert_eq!(plan.status, "{}");
    assert_eq!(plan.children.len(), 1);
    assert_eq!(plan.children[0].key.kind, "Service");
    assert_eq!(plan.children[0].action, ChildAction::Apply("{}".to_owned()));
}

#[rstest]
#[case("endless-loop", "PluginDeadlineExceeded", "not done after 200 ms")]
#[case("endless-log", "PluginDeadlineExceeded", "not done after 200 ms")]
#[case("memory-hog", "PluginMemoryExceeded", "more than 256 MiB of memory")]
#[case("huge-output", "PluginOutputExceeded", "larger than 64 MiB")]
#[case("many-children", "PluginOutputExceeded", "larger than 64 MiB")]
#[case("huge-log-line", "PluginOutputExceeded", "larger than 64 MiB")]
#[case(
    "trap",
    "PluginTrapped",
    "`unreachable` instruction executed; it said: panicked at src/lib.rs:7: no such thing"
)]
#[case("stack-overflow", "PluginTrapped", "call stack exhausted")]
#[case(
    "invalid-status",
    "PluginInvalidJson",
    "invalid JSON in `status`: expected value at line 1 column 11"
)]
#[case("invalid-text", "PluginMalformedAnswer", "utf-8")]
#[case("outside-memory", "PluginMalformedAnswer", "pointer out of bounds")]
#[case("unknown-variant", "PluginMalformedAnswer", "discriminant")]
fn reports_the_failure_of_a_plan(
    #[case] name: &str,
    #[case] reason: &str,
    #[case] message: &str,
    #[values(Allocation::OnDemand, Allocation::default())] allocation: Allocation,
) {
    let engine = engine(allocation);
    let good = load_good(&engine);
    let hostile = load(&engine, name, limits_of(name)).expect("it can be loaded");

    let error = plan(&hostile).expect_err("it misbehaves");
    assert_eq!(error.failure.reason().as_str(), reason, "{error}");
    let text = error.to_string();
    let start = format!("component hostile ({}), cluster.plan: ", hostile.digest().short());
    assert!(text.starts_with(&start), "{text}");
    assert!(text.contains(message), "{text}");

    still_works(&good);
    // The other functions of the component still work.
    hostile.child_kinds(Interface::Cluster, "{}").expect("an answer");
}

/// The last call gets only the time that the earlier calls have left. Its failure does not count as the component's.
#[test]
fn several_calls_share_a_deadline() {
    let engine = engine(Allocation::default());
    let good = load_good(&engine);
    let hostile = load(&engine, "endless-loop", long()).expect("it can be loaded");
    let (loops, waits) = until(Instant::now() + Duration::from_millis(200), || {
        let loops = plan(&hostile).expect_err("it never ends");
        std::thread::sleep(Duration::from_millis(200));
        (loops, plan(&good).expect_err("there is no time left"))
    });
    for error in [loops, waits] {
        assert!(matches!(*error.failure, Failure::NoTime { .. }), "{error}");
        assert!(!error.failure.is_of_component());
    }
    still_works(&good);
}

/// A component with many observed objects is still ended if it uses more than its own memory.
#[rstest]
fn the_memory_of_an_observation_is_added_to_the_limit(
    #[values(Allocation::OnDemand, Allocation::default())] allocation: Allocation,
) {
    let limits = CallLimits {
        memory: 4 * MIB,
        ..long()
    };
    let object = |number: u32| ObservedObject {
        key: ChildKey {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            name: format!("pod-{number}"),
        },
        uid: number.to_string(),
        terminating: false,
        object: "x".repeat(10_000),
    };
    let kind = ResourceKind {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
    };
    let objects = (0..2_000).map(object).collect();
    let large = Observation {
        children: vec![ObservedKind { kind, objects }],
        ..observation()
    };
    let engine = engine(allocation);
    let good = Component::load(&engine, "good", &common::good(), limits).expect("it can be loaded");
    assert!(good.plan(Interface::Cluster, &large).is_ok());
    let hog = load(&engine, "memory-hog", limits).expect("it can be loaded");
    let error = hog
        .plan(Interface::Cluster, &large)
        .expect_err("it exceeds the limit");
    assert_eq!(*error.failure, Failure::Memory { limit: 4 * MIB });
}

#[test]
fn does_not_check_the_objects_of_children() {
    let engine = engine(Allocation::OnDemand);
    let hostile = load(&engine, "invalid-child", long()).expect("it can be loaded");
    let plan = plan(&hostile).expect("a plan");
    assert_eq!(plan.children[0].action, ChildAction::Apply("[1, 2]".to_owned()));
}

#[rstest]
#[case(
    "forbidden-import",
    "imports `wasi:cli/environment@0.2.3`, but a component gets nothing except"
)]
#[case(
    "other-version",
    "is of version 0.2.0 of dask:operator, but this host speaks 0.1.0"
)]
#[case(
    "no-description",
    "`describe.describe` is not as in the contract: the interface dask:operator/describe@0.1.0 is missing"
)]
#[case(
    "other-shape",
    "`describe.describe` is not as in the contract: expected 0-tuple, found 1-tuple"
)]
#[case("nothing", "it exports somebody:else/thing@1.0.0")]
#[case("core-module", "a WebAssembly core module, not a component")]
#[case("bad-name", "its name is \"Hostile\"")]
#[case("bad-schema", "describe.describe: invalid JSON in `settings-schema`")]
#[case("endless-description", "describe.describe: not done after 200 ms")]
#[case("endless-start", "describe.describe: not done after 200 ms")]
#[case(
    "many-memories",
    "3 Wasm linear memories, which exceeds the configured maximum of 2"
)]
#[case("huge-memory", "describe.describe: it wanted more than 256 MiB of memory")]
fn refuses_to_load_unfit_components(#[case] name: &str, #[case] message: &str) {
    let engine = engine(Allocation::default());
    let good = load_good(&engine);
    let error = load(&engine, name, limits_of(name))
        .expect_err("it is unfit")
        .to_string();
    assert!(error.starts_with(&format!("{name} (")), "{error}");
    assert!(error.contains(message), "{error}");
    still_works(&good);
}

#[test]
fn rejects_a_default_that_is_not_an_object() {
    let engine = engine(Allocation::default());
    let hostile = load(&engine, "invalid-default", long()).expect("it can be loaded");
    let error = hostile
        .default(Interface::Cluster, "{}", "{}")
        .expect_err("it misbehaves");
    assert!(matches!(*error.failure, Failure::InvalidJson { .. }), "{error}");
}

#[test]
fn rejects_a_default_that_would_take_too_much_memory() {
    let engine = engine(Allocation::default());
    let hostile = load(&engine, "json-bomb", long()).expect("it can be loaded");
    let error = hostile
        .default(Interface::Cluster, "{}", "{}")
        .expect_err("it misbehaves");
    assert_eq!(error.failure.reason().as_str(), "PluginOutputExceeded", "{error}");
    assert!(
        error
            .to_string()
            .contains("`object` of its answer would take more than"),
        "{error}"
    );
}

#[test]
fn keeps_a_limited_number_of_findings() {
    let engine = engine(Allocation::default());
    let hostile = load(&engine, "many-findings", long()).expect("it can be loaded");
    let findings = hostile
        .validate(Interface::Cluster, "{}", None, "{}")
        .expect("an answer");
    assert_eq!(findings.len(), 1001);
    assert_eq!(findings[1000].message, "and 499000 more");
}

#[test]
fn reports_a_missing_interface() {
    let engine = engine(Allocation::default());
    let error = load_good(&engine)
        .plan(Interface::Job, &observation())
        .expect_err("there is none");
    assert_eq!(*error.failure, Failure::Missing);
    assert!(
        error.to_string().contains("job.plan: it has no such interface"),
        "{error}"
    );
}

#[test]
fn drops_excess_log_lines_and_continues_the_call() {
    let engine = engine(Allocation::default());
    let lines = Lines::default();
    let plan = tracing::subscriber::with_default(lines.clone(), || {
        plan(&load(&engine, "log-flood", long()).expect("it can be loaded"))
    });
    assert_eq!(plan.expect("a plan").status, "{}");
    let lines = lines.0.lock();
    assert_eq!(lines.len(), 101);
    assert!(lines[0].contains("all work and no play"), "{}", lines[0]);
    assert!(
        lines[100].contains("99900 more lines in this call were left out"),
        "{}",
        lines[100]
    );
}

#[test]
fn a_call_ends_at_its_deadline() {
    let engine = engine(Allocation::default());
    let hostile = load(&engine, "endless-loop", short()).expect("it can be loaded");
    let started = Instant::now();
    plan(&hostile).expect_err("it misbehaves");
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(200), "{took:?}");
    // The deadline is accurate to two ticks, 20 ms. The rest allows for a busy machine.
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[test]
fn memory_is_released_after_each_call() {
    let engine = engine(Allocation::default());
    let hostile = load(&engine, "memory-hog", long()).expect("it can be loaded");
    plan(&hostile).expect_err("it misbehaves");
    let before = resident();
    for _ in 0..5 {
        plan(&hostile).expect_err("it misbehaves");
    }
    let after = resident();
    assert!(
        after < before + 64 * MIB,
        "{} MiB before, {} MiB after",
        before / MIB,
        after / MIB
    );
}

#[test]
fn concurrent_misbehaving_calls_do_not_block_others() {
    let engine = engine(Allocation::default());
    let good = load_good(&engine);
    let hostile = load(&engine, "endless-loop", short()).expect("it can be loaded");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| plan(&hostile).expect_err("it misbehaves"));
        }
        for _ in 0..100 {
            still_works(&good);
        }
    });
}

#[test]
fn calls_wait_for_a_free_slot() {
    let engine = engine(Allocation::Pooling { instances: 1 });
    let good = load_good(&engine);
    let hostile = load(&engine, "endless-loop", short()).expect("it can be loaded");
    std::thread::scope(|scope| {
        scope.spawn(|| plan(&hostile).expect_err("it misbehaves"));
        for _ in 0..4 {
            scope.spawn(|| (0..50).for_each(|_| still_works(&good)));
        }
    });
}

#[test]
fn the_observer_receives_every_call() {
    let observer = Arc::new(Calls::default());
    let config = EngineConfig {
        observer: Some(observer.clone()),
        ..EngineConfig::default()
    };
    let engine = Engine::new(config).expect("an engine");
    let hostile = load(&engine, "trap", long()).expect("it can be loaded");
    hostile.validate_settings("{}").expect("an answer");
    plan(&hostile).expect_err("it misbehaves");
    let calls = observer.0.lock();
    // The component is called for its description before its name is known.
    assert_eq!(
        *calls,
        [
            "trap describe.describe None",
            "hostile describe.validate-settings None",
            "hostile cluster.plan Some(\"PluginTrapped\")"
        ]
    );
}

#[derive(Default)]
struct Calls(Mutex<Vec<String>>);

impl CallObserver for Calls {
    fn called(&self, report: &CallReport<'_>) {
        assert!(report.memory >= 2 << 16);
        let failure = report.failure.map(|failure| failure.reason().as_str());
        let CallReport {
            component,
            interface,
            function,
            ..
        } = report;
        let line = format!("{component} {interface}.{function} {failure:?}");
        self.0.lock().push(line);
    }
}

/// Subscriber that collects the log lines of plugins.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Lines {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "plugin"
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Text(String);
        impl tracing::field::Visit for Text {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                if field.name() == "message" {
                    self.0 = format!("{value:?}");
                }
            }
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        self.0.lock().push(text.0);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

/// Returns the resident memory of this process, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .expect("VmRSS");
    let kib: usize = line
        .split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse().ok())
        .expect("a number");
    kib << 10
}
