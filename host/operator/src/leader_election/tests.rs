use std::convert::Infallible;
use std::sync::Arc;

use http::{Method, Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::*;

/// Simulates an API server that stores one Lease.
#[derive(Default)]
struct Server {
    lease: Option<Value>,
    version: u64,
    /// Answers every request with an error.
    broken: bool,
    /// Carries out the next change but answers with an error.
    loses_response: bool,
}

impl Server {
    fn answer(&mut self, method: &Method, body: Option<Value>) -> (u16, Value) {
        let error = |code: u16| {
            let reason = match code {
                404 => "NotFound",
                409 => "Conflict",
                _ => "InternalError",
            };
            let status = json!({"status": "Failure", "code": code, "message": "no", "reason": reason});
            (code, status)
        };
        if self.broken {
            return error(500);
        }
        let there = self
            .lease
            .as_ref()
            .map(|lease| lease["metadata"]["resourceVersion"].clone());
        let mut lease = match (method, body, there) {
            (&Method::GET, ..) => {
                return self
                    .lease
                    .clone()
                    .map_or_else(|| error(404), |lease| (200, lease));
            }
            (&Method::POST, Some(lease), None) => lease,
            (&Method::PUT, Some(lease), Some(version)) if lease["metadata"]["resourceVersion"] == version => {
                lease
            }
            (&Method::PUT, _, None) => return error(404),
            _ => return error(409),
        };
        self.version += 1;
        lease["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.lease = Some(lease.clone());
        if std::mem::take(&mut self.loses_response) {
            return error(500);
        }
        (200, lease)
    }
}

#[derive(Clone, Default)]
struct World(Arc<Mutex<Server>>);

impl World {
    fn with<T>(&self, act: impl FnOnce(&mut Server) -> T) -> T {
        act(&mut self.0.lock())
    }

    fn client(&self) -> Client {
        let world = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let world = world.clone();
            async move {
                let method = request.method().clone();
                let body = request.into_body().collect_bytes().await.unwrap_or_default();
                let (code, answer) =
                    world.with(|server| server.answer(&method, serde_json::from_slice(&body).ok()));
                let mut response = Response::new(Body::from(answer.to_string().into_bytes()));
                *response.status_mut() = code.try_into().unwrap_or_default();
                Ok::<_, Infallible>(response)
            }
        });
        Client::new(service, "n")
    }

    fn holder(&self) -> String {
        let holder = self.with(|server| {
            server
                .lease
                .as_ref()
                .map(|lease| lease["spec"]["holderIdentity"].clone())
        });
        holder.unwrap_or_default().as_str().unwrap_or("none").to_owned()
    }

    /// Starts a replica that tries to become the leader.
    fn operator(&self, identity: &str) -> Operator {
        let leadership = Leadership::not_yet();
        let args = LeaseArgs {
            name: Some("l".into()),
            namespace: None,
            seconds: 10,
            identity: Some(identity.into()),
        };
        let lease = Lease::new(&args, &self.client(), leadership.clone()).map(Arc::new);
        let lease = lease.unwrap_or_else(|| panic!("the arguments name a lease"));
        let runs = tokio::spawn({
            let lease = lease.clone();
            async move {
                lease.acquire().await;
                lease.keep().await
            }
        });
        Operator {
            lease,
            leadership,
            runs,
        }
    }
}

struct Operator {
    lease: Arc<Lease>,
    leadership: Leadership,
    runs: JoinHandle<LeadershipLost>,
}

impl Operator {
    /// Waits until this replica leads and returns the milliseconds that this took.
    async fn leads(&self) -> u128 {
        let start = Instant::now();
        let waited = tokio::time::timeout(Duration::from_secs(100), self.leadership.wait()).await;
        assert!(waited.is_ok(), "the replica is not the leader after 100 s");
        start.elapsed().as_millis()
    }
}

/// Checks every 100 ms for `seconds` that at most one replica leads.
async fn assert_at_most_one_leader(seconds: u64, one: &Operator, other: &Operator) {
    for _ in 0..seconds * 10 {
        assert!(!(one.leadership.now() && other.leadership.now()));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_leads_and_the_other_waits() {
    let world = World::default();
    let (a, b) = (world.operator("a"), world.operator("b"));
    a.leads().await;
    assert_at_most_one_leader(300, &a, &b).await;
    assert!(a.leadership.now() && !a.runs.is_finished());
    assert_eq!(world.holder(), "a");
}

#[tokio::test(start_paused = true)]
async fn a_killed_leader_is_replaced_within_fifteen_seconds() {
    let world = World::default();
    let (a, b) = (world.operator("a"), world.operator("b"));
    a.leads().await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    a.runs.abort();
    let after = b.leads().await;
    assert!((6000..=12_000).contains(&after), "{after} ms");
    assert!(!a.leadership.now());
    assert_eq!(world.holder(), "b");
}

#[tokio::test(start_paused = true)]
async fn a_released_lease_is_taken_at_once() {
    let world = World::default();
    let (a, b) = (world.operator("a"), world.operator("b"));
    a.leads().await;
    a.runs.abort();
    a.lease.release().await;
    assert!(!a.leadership.now());
    assert_eq!(world.holder(), "none");
    assert!(b.leads().await <= 1000);
    let transitions =
        world.with(|server| server.lease.clone().unwrap_or_default()["spec"]["leaseTransitions"].clone());
    assert_eq!(transitions, 1);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_renew_stops_before_others_start() {
    let world = World::default();
    let (a, b) = (world.operator("a"), world.operator("b"));
    a.leads().await;
    world.with(|server| server.broken = true);
    assert_at_most_one_leader(8, &a, &b).await;
    assert!(!a.leadership.now() && a.runs.is_finished());
    let lost = a.runs.await.map(|lost| lost.to_string()).unwrap_or_default();
    assert_eq!(
        lost,
        "the lease l could not be renewed for 7 s (no: InternalError): ends, so that another operator can lead"
    );
    world.with(|server| server.broken = false);
    assert!(b.leads().await <= 12_000);
}

#[tokio::test(start_paused = true)]
async fn short_outages_do_not_lose_the_lease() {
    let world = World::default();
    let a = world.operator("a");
    a.leads().await;
    for _ in 0..5 {
        world.with(|server| server.broken = true);
        tokio::time::sleep(Duration::from_secs(4)).await;
        world.with(|server| server.broken = false);
        tokio::time::sleep(Duration::from_secs(4)).await;
    }
    assert!(a.leadership.now() && !a.runs.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_lost_response_does_not_lose_the_lease() {
    let world = World::default();
    let a = world.operator("a");
    a.leads().await;
    for _ in 0..3 {
        world.with(|server| server.loses_response = true);
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(a.leadership.now());
    }
    // Nor does deleting the lease.
    world.with(|server| server.lease = None);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(a.leadership.now() && world.holder() == "a");
}

#[tokio::test(start_paused = true)]
async fn a_leader_stops_when_another_takes_the_lease() {
    let world = World::default();
    let a = world.operator("a");
    a.leads().await;
    world.with(|server| {
        server.version += 1;
        let version = server.version.to_string();
        if let Some(lease) = &mut server.lease {
            lease["spec"]["holderIdentity"] = "thief".into();
            lease["metadata"]["resourceVersion"] = version.into();
        }
    });
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(!a.leadership.now());
    let lost = a.runs.await.map(|lost| lost.to_string()).unwrap_or_default();
    assert_eq!(
        lost,
        "the lease l was taken by thief: ends, so that only one operator leads"
    );
}

#[tokio::test(start_paused = true)]
async fn a_restarted_container_leads_at_once() {
    let world = World::default();
    let before = world.operator("pod");
    before.leads().await;
    before.runs.abort();
    assert!(world.operator("pod").leads().await < 100);
}
