//! Recorded messages of several releases are decoded to the same facts.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use dask_operator_scheduler::{AfterRetirement, Attribute, Error, FactsRequest, Scheduler, Workers};
use rstest::rstest;
use serde::Deserialize;
use support::{RELEASES, recorded, request, scheduler, server, write};

/// Returns a scheduler that replies with the recorded messages of a release.
async fn replay(release: &'static str) -> Scheduler {
    let address = server(async |_, mut stream| {
        write(&mut stream, &recorded(release, "handshake")).await;
        request(&mut stream).await;
        loop {
            let call = call(&request(&mut stream).await);
            if call.op.is_empty() {
                return;
            }
            write(&mut stream, &recorded(release, &call.op)).await;
        }
    });
    scheduler(address.await)
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Call {
    op: String,
}

fn call(frame: &[u8]) -> Call {
    rmp_serde::from_slice(frame).unwrap_or_default()
}

#[rstest]
#[tokio::test]
async fn reads_the_facts_of_each_release(
    #[values("2022.8.1", "2024.8.2", "2026.8.0")] release: &'static str,
) {
    let facts = replay(release)
        .await
        .facts(&FactsRequest::default())
        .await
        .unwrap();
    let mut names: Vec<_> = facts.workers.iter().map(|worker| worker.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["3", "w-two"]);
    assert_eq!(facts.desired_workers, Some(1));
    assert_eq!(facts.idle_since_ms.is_some(), release != "2022.8.1");
    for worker in &facts.workers {
        assert!(
            worker.address.starts_with("tcp://127.0.0.1:"),
            "{}",
            worker.address
        );
        assert_eq!(
            (worker.status.as_str(), worker.nthreads, worker.processing),
            ("running", 2, 0)
        );
        assert!(worker.last_seen_ms > 1_700_000_000_000, "{}", worker.last_seen_ms);
    }
    let bytes: u64 = facts.workers.iter().map(|worker| worker.managed_bytes).sum();
    assert_eq!(bytes, if release == "2022.8.1" { 0 } else { 20 * 1001 });
}

#[tokio::test]
async fn queries_only_the_requested_facts() {
    let request = FactsRequest {
        desired_workers: false,
        target_duration: None,
        idle_since: false,
    };
    let facts = replay("2026.8.0").await.facts(&request).await.unwrap();
    assert_eq!(
        (facts.workers.len(), facts.desired_workers, facts.idle_since_ms),
        (2, None, None)
    );
}

#[tokio::test]
async fn reads_the_replies_to_other_calls() {
    for release in RELEASES {
        let mut scheduler = replay(release).await;
        assert_eq!(
            scheduler
                .adaptive_target(Some(Duration::from_millis(1500)))
                .await
                .unwrap(),
            Some(1)
        );
        let mut names = scheduler.workers_to_close(2, Attribute::Name).await.unwrap();
        names.sort_unstable();
        assert_eq!(names, ["3", "w-two"]);
        let identity = scheduler.identity().await.unwrap();
        assert!(identity.id.starts_with("Scheduler-"), "{}", identity.id);
        assert!(identity.started_ms > Some(1_700_000_000_000));
        let retired = scheduler.retire(&["tcp://127.0.0.1:1".to_owned()]).await.unwrap();
        assert_eq!(retired.len(), 1);
        assert_eq!(retired[0].name, "3");
        assert!(scheduler.is_connected());
    }
}

#[tokio::test]
async fn exceptions_and_unknown_calls_keep_the_connection() {
    for release in RELEASES {
        let address = server(async |_, mut stream| {
            write(&mut stream, &recorded(release, "handshake")).await;
            request(&mut stream).await;
            for answer in ["exception", "unknown", "identity"] {
                request(&mut stream).await;
                write(&mut stream, &recorded(release, answer)).await;
            }
            support::hang().await;
        });
        let mut scheduler = scheduler(address.await);
        let error = scheduler
            .workers_to_close(1, Attribute::Address)
            .await
            .unwrap_err();
        assert!(
            matches!(
                error,
                Error::Exception {
                    call: "workers_to_close",
                    ..
                }
            ),
            "{error}"
        );
        assert!(
            error.to_string().contains("unexpected keyword argument 'wrong'"),
            "{error}"
        );
        let error = scheduler.adaptive_target(None).await.unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{error}");
        // Both are valid replies, so the connection stays open. A new connection would get the exception again.
        assert_eq!(scheduler.identity().await.unwrap().workers.len(), 2);
    }
}

/// The requests as Dask reads them.
#[tokio::test]
async fn requests_have_the_form_that_dask_expects() {
    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Sent {
        op: String,
        reply: bool,
        n: Option<u32>,
        attribute: Option<String>,
        target_duration: Option<f64>,
        workers: Option<Vec<String>>,
        names: Option<Vec<String>>,
        close_workers: Option<bool>,
        remove: Option<bool>,
    }
    let (sender, mut sent) = tokio::sync::mpsc::unbounded_channel();
    let address = server(move |_, mut stream| {
        let sender = sender.clone();
        async move {
            support::greet(&mut stream).await;
            loop {
                let frame = request(&mut stream).await;
                let op = call(&frame).op;
                if op.is_empty() {
                    return;
                }
                sender
                    .send(rmp_serde::from_slice::<Sent>(&frame).unwrap())
                    .unwrap();
                write(&mut stream, &recorded("2026.8.0", &op)).await;
            }
        }
    });
    let mut scheduler = scheduler(address.await);
    let one = ["w".to_owned()];
    scheduler.identity().await.unwrap();
    scheduler.adaptive_target(None).await.unwrap();
    scheduler
        .adaptive_target(Some(Duration::from_millis(1500)))
        .await
        .unwrap();
    scheduler.workers_to_close(7, Attribute::Address).await.unwrap();
    scheduler.retire(&one).await.unwrap();
    scheduler
        .retire_workers(Workers::Names(&one), AfterRetirement::Close)
        .await
        .unwrap();
    scheduler
        .retire_workers(Workers::Addresses(&one), AfterRetirement::Stay)
        .await
        .unwrap();
    // An empty selection sends no request, because Dask could take it for all workers.
    assert_eq!(scheduler.retire(&[]).await.unwrap(), []);

    let base = |op: &str| Sent {
        op: op.to_owned(),
        reply: true,
        ..Sent::default()
    };
    let workers = Some(one.to_vec());
    let expected = [
        base("identity"),
        base("adaptive_target"),
        Sent {
            target_duration: Some(1.5),
            ..base("adaptive_target")
        },
        Sent {
            n: Some(7),
            attribute: Some("address".to_owned()),
            ..base("workers_to_close")
        },
        Sent {
            workers: workers.clone(),
            close_workers: Some(false),
            remove: Some(true),
            ..base("retire_workers")
        },
        Sent {
            names: workers.clone(),
            close_workers: Some(true),
            remove: Some(true),
            ..base("retire_workers")
        },
        Sent {
            workers,
            close_workers: Some(false),
            remove: Some(false),
            ..base("retire_workers")
        },
    ];
    for expected in expected {
        assert_eq!(sent.recv().await, Some(expected));
    }
    assert!(sent.try_recv().is_err());
}
