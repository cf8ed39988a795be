//! Benchmark of calls of components, compared with the same code natively in this process, and of loading them.

mod loading;
mod requests;

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use dask_operator_components::WORKER_GROUP;
use dask_operator_plugin::testing::capture_log;
use dask_operator_plugin::{Policy, WorkerGroup, contract as guest, export, settings};
use dask_operator_runtime::{Allocation, CallLimits, Component, Engine, EngineConfig, Interface, contract};
use dask_operator_worker_group::DefaultWorkerGroup;
use required_limits::RequiredLimits;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use loading::LoadComponents;

use crate::folders;
use crate::results::{self, Aim, Output, Table, Unit};

/// Plans to measure: title, requested workers, and existing workers.
const PLANS: [(&str, u32, u32); 5] = [
    ("create 1 pod", 1, 0),
    ("create 10 pods", 10, 0),
    ("create 1,000 pods", 1_000, 0),
    ("keep 100 pods", 100, 100),
    ("keep 5,000 pods", 5_000, 5_000),
];

/// Limit of the time of a plan in relation to that of native code.
const RATIO: Aim = Aim::AtMost(2.0);

/// Limit of the time of one call of a policy, in seconds.
const POLICY: Aim = Aim::AtMost(100e-6);

/// Arguments of the benchmark.
#[derive(Args)]
pub(crate) struct Calls {
    /// Number of measurements of each call.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Duration for which a call is repeated in a measurement, which is the median of their times.
    #[arg(long, default_value_t = 0.5)]
    seconds: f64,
    /// Component of the example policy `required-limits`.
    #[arg(long, default_value = "target/plugins/required-limits.wasm")]
    policy: PathBuf,
    #[command(flatten)]
    output: Output,
}

impl Calls {
    /// Runs the benchmark and prints the tables.
    pub(crate) fn run(&self) -> Result<()> {
        let folder = folders::private()?;
        let cache = folder.path().join("cache");
        self.output.table(&self.plans(&cache)?)?;
        self.output.table(&self.policies(&cache)?)?;
        self.output.table(&self.loading(folder.path())?)
    }

    /// Measures plans of the default component of worker groups.
    fn plans(&self, cache: &Path) -> Result<Table> {
        let mut table = Table::new("calls-plan", "plans of a worker group with a pod of 5 kB");
        let pooled = load(&engine(cache, Allocation::default())?)?;
        for (title, replicas, existing) in PLANS {
            let observation = requests::observation(&pooled, replicas, existing)?;
            let plan = plan(&pooled, &observation)?;
            let converted: guest::Observation = converted(&observation)?;
            let plan_natively = || export::plan::<WorkerGroup, DefaultWorkerGroup>(&converted);
            // The host discards what components log by default, so the native log is not printed either.
            let (planned, _) = capture_log(plan_natively);
            ensure!(
                planned?.children.len() == plan.children.len(),
                "{title}: the component plans other children than native code"
            );
            self.compare(
                &mut table,
                title,
                || {
                    drop(black_box(plan_natively()));
                },
                || {
                    drop(black_box(pooled.plan(Interface::WorkerGroup, &observation)));
                },
            );
            table.limit(&ratio(title), RATIO);
        }
        Ok(table)
    }

    /// Measures the example policy.
    fn policies(&self, cache: &Path) -> Result<Table> {
        let mut table = Table::new("calls-policy", "calls of the policy required-limits");
        let wasm = fs::read(&self.policy).with_context(|| {
            format!(
                "reading {}: build it with `make plugins`, or name it with --policy",
                self.policy.display()
            )
        })?;
        let engine = engine(cache, Allocation::default())?;
        let policy = Component::load(&engine, "required-limits", &wasm, CallLimits::default())?;

        let request = requests::admission();
        let response = policy.admit(&request)?.map_err(anyhow::Error::msg)?;
        ensure!(
            response.verdict == contract::Verdict::Allow,
            "the policy refuses the request: {response:?}"
        );
        let admission: guest::AdmissionRequest = converted(&request)?;
        self.compare(
            &mut table,
            "admit a cluster of 5 kB",
            || {
                let settings = settings::read(&admission.settings).unwrap_or_default();
                drop(black_box(RequiredLimits::admit(&admission, &settings)));
            },
            || {
                drop(black_box(policy.admit(&request)));
            },
        );
        table.limit("admit a cluster of 5 kB: component", POLICY);

        let group = load(&engine)?;
        for (title, replicas) in [
            ("review the creation of 1 pod", 1),
            ("review the creation of 1,000 pods", 1_000),
        ] {
            let observation = requests::observation(&group, replicas, 0)?;
            let request = requests::review(&observation, plan(&group, &observation)?);
            let answer = policy.review_plan(&request)?.map_err(anyhow::Error::msg)?;
            ensure!(
                answer == contract::Review::Allow,
                "the policy refuses the plan: {answer:?}"
            );
            let review: guest::ReviewRequest = converted(&request)?;
            self.compare(
                &mut table,
                title,
                || {
                    let settings = settings::read(&review.settings).unwrap_or_default();
                    drop(black_box(RequiredLimits::review_plan(&review, &settings)));
                },
                || {
                    drop(black_box(policy.review_plan(&request)));
                },
            );
        }
        table.limit("review the creation of 1 pod: component", POLICY);
        Ok(table)
    }

    /// Measures how long components take to compile and to load, and how much memory they take.
    fn loading(&self, folder: &Path) -> Result<Table> {
        let mut table = Table::new("calls-loading", "loading of components, and the smallest call");
        for round in 1..=self.rounds {
            let cache = folder.join(format!("cache-{round}"));
            let mut add = |label: &str, unit, value| table.add(label, unit, value);
            let start = Instant::now();
            let on_demand = load(&engine(&cache, Allocation::OnDemand)?)?;
            add(
                "compile worker-group",
                Unit::Seconds,
                start.elapsed().as_secs_f64(),
            );
            let pooled = load(&engine(&cache, Allocation::default())?)?;
            for (label, component) in [
                ("smallest call, new memory for each", &on_demand),
                ("smallest call, memory from the pool", &pooled),
            ] {
                let seconds = self.median(|| drop(component.child_kinds(Interface::WorkerGroup, "{}")));
                add(label, Unit::Seconds, seconds);
            }
            let cache = folder.join(format!("cache-of-all-{round}"));
            for what in ["compile", "load from the cache"] {
                let loaded = LoadComponents::run_in_a_process(&cache)?;
                let label = |of: &str| format!("{what} the four default components{of}");
                add(&label(""), Unit::Seconds, loaded.seconds);
                add(&label(", memory of the process"), Unit::Bytes, loaded.resident);
            }
        }
        Ok(table)
    }

    /// Adds the rows of native code, of a component, and of their ratio to a table.
    fn compare(&self, table: &mut Table, title: &str, mut native: impl FnMut(), mut component: impl FnMut()) {
        for _ in 0..self.rounds {
            let (native, _) = capture_log(|| self.median(&mut native));
            let component = self.median(&mut component);
            table.add(&format!("{title}: native"), Unit::Seconds, native);
            table.add(&format!("{title}: component"), Unit::Seconds, component);
            table.add(&ratio(title), Unit::Ratio, component / native);
        }
    }

    /// Repeats a call and returns the median of its times, in seconds.
    fn median(&self, mut call: impl FnMut()) -> f64 {
        let timed = |call: &mut dyn FnMut()| {
            let start = Instant::now();
            call();
            start.elapsed().as_secs_f64()
        };
        let limit = Duration::from_secs_f64(self.seconds);
        // Fills caches and the allocator's free memory.
        timed(&mut call);
        let (start, mut times) = (Instant::now(), Vec::new());
        while times.len() < 3 || start.elapsed() < limit {
            times.push(timed(&mut call));
        }
        results::median(&times)
    }
}

/// Returns the label of the row with the time of a component in relation to that of native code.
fn ratio(title: &str) -> String {
    format!("{title}: component ÷ native")
}

/// Creates an engine.
fn engine(cache: &Path, allocation: Allocation) -> Result<Engine> {
    Ok(Engine::new(EngineConfig {
        cache: Some(cache.to_owned().into()),
        allocation,
        ..EngineConfig::default()
    })?)
}

/// Loads the default component of worker groups.
fn load(engine: &Engine) -> Result<Component> {
    let limits = CallLimits::default();
    Ok(Component::load(
        engine,
        WORKER_GROUP.name,
        WORKER_GROUP.bytes,
        limits,
    )?)
}

/// Returns the plan of a component.
fn plan(component: &Component, observation: &contract::Observation) -> Result<contract::Plan> {
    let answer = component.plan(Interface::WorkerGroup, observation)?;
    answer.map_err(|error| anyhow::anyhow!("the component can't plan: {error:?}"))
}

/// Converts a record of the contract from the host's type to the component's.
fn converted<T: DeserializeOwned>(record: &impl Serialize) -> Result<T> {
    Ok(serde_json::from_value(serde_json::to_value(record)?)?)
}
