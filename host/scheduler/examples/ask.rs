//! Calls a scheduler and prints its replies as JSON, one line for each call:
//!
//! ```text
//! ask tcp://127.0.0.1:8786 facts
//! ask tls://127.0.0.1:8786 retire tcp://127.0.0.1:40331 identity
//! ask http://127.0.0.1:8787 facts
//! ```
//!
//! All calls use one connection. An argument with `://` or `=` belongs to the call
//! before it. Certificates are read from Dask's own variables. If a call fails,
//! its error is written to standard error, and the exit status is 1.
#![allow(clippy::print_stdout)]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use dask_operator_scheduler::{
    AfterRetirement, Attribute, Client, Error, Facts, FactsRequest, HttpScheduler, Options, RetiredWorker,
    Scheduler, TlsConfig, Worker, Workers,
};
use serde_json::{Value, json};

type AnyError = Box<dyn std::error::Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(std::env::args().skip(1).collect()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Vec<String>) -> Result<(), AnyError> {
    let (address, arguments) = arguments
        .split_first()
        .ok_or("an address and calls are required")?;
    let timeout = std::env::var("ASK_TIMEOUT")
        .ok()
        .map(|seconds| seconds.parse())
        .transpose()?;
    let timeout = Duration::from_secs_f64(timeout.unwrap_or(10.0));
    let client = Client::new(Options {
        connect_timeout: timeout,
        call_timeout: timeout,
        tls: TlsConfig::from_env()?,
        ..Options::default()
    });
    let mut http = None;
    let mut comm = None;
    match address.starts_with("http") {
        true => http = Some(client.http(address)?),
        false => comm = Some(client.scheduler(address.parse()?)),
    }
    let mut arguments = arguments.iter().peekable();
    while let Some(call) = arguments.next() {
        let mut values = Vec::new();
        while let Some(value) = arguments.next_if(|word| word.contains("://") || word.contains('=')) {
            values.push(value.trim_start_matches("name=").to_owned());
        }
        let answer = match (&mut comm, &http) {
            (Some(scheduler), _) => ask(scheduler, call, &values).await?,
            (None, Some(http)) => ask_http(http, call, &values).await?,
            (None, None) => unreachable!("one of them was made above"),
        };
        println!("{answer}");
    }
    Ok(())
}

async fn ask(scheduler: &mut Scheduler, call: &str, values: &[String]) -> Result<Value, Error> {
    let retire = |afterwards| (Workers::Addresses(values), afterwards);
    let (workers, afterwards) = match call {
        "facts" => return Ok(facts(&scheduler.facts(&FactsRequest::default()).await?)),
        "identity" => {
            let identity = scheduler.identity().await?;
            return Ok(
                json!({"id": identity.id, "started": identity.started_ms, "workers": workers(&identity.workers)}),
            );
        }
        "adaptive-target" => {
            return Ok(json!(
                scheduler.adaptive_target(Some(Duration::from_secs(1))).await?
            ));
        }
        "check-idle" => return Ok(json!(scheduler.check_idle().await?)),
        "workers-to-close" => return Ok(json!(scheduler.workers_to_close(1000, Attribute::Name).await?)),
        "addresses-to-close" => return Ok(json!(scheduler.workers_to_close(1, Attribute::Address).await?)),
        "time" => return time(scheduler).await,
        "retire-names" => (Workers::Names(values), AfterRetirement::Close),
        "retire-stay" => retire(AfterRetirement::Stay),
        "retire-close" => retire(AfterRetirement::Close),
        _ => retire(AfterRetirement::Forget),
    };
    Ok(retired(&scheduler.retire_workers(workers, afterwards).await?))
}

async fn ask_http(scheduler: &HttpScheduler, call: &str, values: &[String]) -> Result<Value, Error> {
    Ok(match call {
        "facts" => facts(&scheduler.facts(&FactsRequest::default()).await?),
        "adaptive-target" => json!(scheduler.adaptive_target().await?),
        "check-idle" => json!(scheduler.check_idle().await?),
        "get-workers" => retired(&scheduler.get_workers().await?),
        _ => retired(&scheduler.retire(values).await?),
    })
}

/// Measures the time to get the facts, in milliseconds: 200 times, over one connection.
async fn time(scheduler: &mut Scheduler) -> Result<Value, Error> {
    let mut times = Vec::new();
    let mut count = 0;
    for _ in 0..200 {
        let start = Instant::now();
        count = scheduler.facts(&FactsRequest::default()).await?.workers.len();
        times.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    times.sort_by(f64::total_cmp);
    Ok(json!({"workers": count, "median": times[times.len() / 2], "p99": times[times.len() * 99 / 100]}))
}

fn facts(facts: &Facts) -> Value {
    json!({
        "workers": workers(&facts.workers),
        "desired_workers": facts.desired_workers,
        "idle_since": facts.idle_since_ms,
    })
}

fn workers(workers: &[Worker]) -> Value {
    let worker = |worker: &Worker| {
        json!({
            "address": worker.address,
            "name": worker.name,
            "status": worker.status,
            "processing": worker.processing,
            "managed_bytes": worker.managed_bytes,
            "nthreads": worker.nthreads,
            "last_seen": worker.last_seen_ms,
        })
    };
    workers.iter().map(worker).collect()
}

fn retired(retired: &[RetiredWorker]) -> Value {
    retired
        .iter()
        .map(|worker| json!({"address": worker.address, "name": worker.name}))
        .collect()
}
