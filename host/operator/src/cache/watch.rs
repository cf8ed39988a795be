//! Watches of the API server, which update the informer cache.
//!
//! Each kind is listed and watched separately, in all namespaces or in each of the configured ones.

use std::time::Duration;

use dask_operator_core::names::LABEL_CLUSTER;
use kube::Client;
use kube::api::{Api, ListParams};
use kube::core::request::Request;
use kube::core::{Resource, Status};
use kube::runtime::watcher::{self, Config};
use serde::de::DeserializeOwned;
use tracing::Level;

use crate::cache::store::{ObjectChange, Store};
use crate::client;
use crate::client::discovery::{self, Served, refusal};
use crate::client::error::{answered, watch_error_text};
use crate::client::object::{Object, Retention, WatchObject};
use crate::client::resource::ResourceType;
use crate::client::watch::{Handler, Message};

/// Objects per page of a list. The objects of one page are in memory twice for a moment.
const PAGE: u32 = 250;

/// Time limit for the lookup of an object.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

/// Looks up an object that no watch has shown, and returns the present object with its name, if there is one.
///
/// # Errors
///
/// Returns an error if the API server does not answer, or not with a list.
pub(crate) async fn find(
    client: &Client,
    kind: &ResourceType,
    object: &Object,
) -> anyhow::Result<Option<Object>> {
    // A list with one item needs no more permissions than the watch.
    let parameters = ListParams::default().fields(&format!("metadata.name={}", object.name));
    let request = Request::new(kind.path(&object.namespace)).list(&parameters)?;
    let answer = tokio::time::timeout(LOOKUP_TIMEOUT, client.request_text(request)).await??;
    Ok(Object::from_list(&answer, &kind.resource)?)
}

/// Receiver of the changes and failures of watches.
pub(crate) trait Watcher: Send + Sync {
    /// Called when an object has changed.
    fn changed(&self, kind: &ResourceType, change: ObjectChange);
    /// Called when a list is complete.
    fn synced(&self, kind: &ResourceType, namespace: Option<&str>);
    /// Called when the first list was refused. `why` is the reason why the objects can't be known; `None` if there
    /// can't be any, because the API server does not serve the kind.
    fn refused(&self, kind: &ResourceType, namespace: Option<&str>, why: Option<String>);
    /// Called when the first list failed and is retried, without any information on the objects. `why` is the failure.
    fn delayed(&self, kind: &ResourceType, namespace: Option<&str>, why: String);
    /// Called when the watch failed and is restarted.
    fn failed(&self, kind: &ResourceType);
}

/// Watches `kind` in `namespace` (`None` for all). Runs until the process exits.
pub(crate) async fn watch(
    client: Client,
    kind: ResourceType,
    namespace: Option<String>,
    store: &Store,
    observer: &impl Watcher,
) {
    match Retention::of(&kind.resource) {
        Retention::Pod => follow::<WatchObject<true>>(client, kind, namespace, store, observer).await,
        Retention::Whole => follow::<WatchObject<false>>(client, kind, namespace, store, observer).await,
    }
}

/// Object type that a watch deserializes.
trait Incoming:
    Resource<DynamicType = kube::api::ApiResource, Scope = kube::core::DynamicResourceScope>
    + Clone
    + std::fmt::Debug
    + DeserializeOwned
    + Send
    + 'static
{
    fn into_object(self) -> Object;
}

impl<const POD: bool> Incoming for WatchObject<POD> {
    fn into_object(self) -> Object {
        Self::into_object(self)
    }
}

async fn follow<K: Incoming>(
    client: Client,
    kind: ResourceType,
    namespace: Option<String>,
    store: &Store,
    observer: &impl Watcher,
) {
    let resource = kind.api_resource();
    let api: Api<K> = match &namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let config = Config::default().page_size(PAGE);
    // All Dask resources are watched; of other kinds only objects that belong to one.
    let config = if kind.as_dask().is_some() {
        config
    } else {
        config.labels(LABEL_CLUSTER)
    };
    let mut filler = StoreFiller::new(&client, &kind, namespace.as_deref(), store, observer);
    client::watch::watch(api, config, &mut filler).await;
}

/// Updates a store with the events of a watch.
struct StoreFiller<'a, W> {
    client: &'a Client,
    kind: &'a ResourceType,
    namespace: Option<&'a str>,
    store: &'a Store,
    observer: &'a W,
    /// Number of the current list.
    generation: u64,
    /// True once a list was complete.
    is_listed: bool,
}

impl<'a, W: Watcher> StoreFiller<'a, W> {
    fn new(
        client: &'a Client,
        kind: &'a ResourceType,
        namespace: Option<&'a str>,
        store: &'a Store,
        observer: &'a W,
    ) -> Self {
        Self {
            client,
            kind,
            namespace,
            store,
            observer,
            generation: 0,
            is_listed: false,
        }
    }

    fn put(&self, object: Object) {
        let object = with_type_meta(object, self.kind);
        if let Some(change) = self.store.apply_event(object) {
            self.observer.changed(self.kind, change);
        }
    }
}

impl<K: Incoming, W: Watcher> Handler<K> for StoreFiller<'_, W> {
    const LOG_INTERVAL: Duration = Duration::from_secs(60);
    const LOG_AFTER_LIST: bool = true;

    fn list_started(&mut self) {
        self.generation = self.store.begin_relist();
    }

    async fn listed(&mut self, object: K) {
        self.put(object.into_object());
    }

    async fn list_finished(&mut self) {
        for change in self.store.end_relist(self.generation, self.namespace) {
            self.observer.changed(self.kind, change);
        }
        self.is_listed = true;
        self.observer.synced(self.kind, self.namespace);
    }

    async fn changed(&mut self, object: K) {
        self.put(object.into_object());
    }

    async fn deleted(&mut self, object: K) {
        if let Some(change) = self.store.remove(&object.into_object()) {
            self.observer.changed(self.kind, change);
        }
    }

    async fn failed(&mut self, error: &watcher::Error) -> Message {
        self.observer.failed(self.kind);
        let mut is_missing = false;
        if !self.is_listed && !self.kind.is_needed() {
            match refusal(error) {
                Some(refused) => {
                    let why = unlisted_reason(self.client, self.kind, refused).await;
                    is_missing = why.is_none();
                    self.observer.refused(self.kind, self.namespace, why);
                }
                None => {
                    let why = delay(self.kind, error);
                    self.observer.delayed(self.kind, self.namespace, why);
                }
            }
        }
        failure_message(self.kind, error, is_missing)
    }
}

/// Returns the reason why the objects of a kind whose list was refused can't be known; `None` if discovery shows that
/// the API server does not serve the kind.
async fn unlisted_reason(client: &Client, kind: &ResourceType, refused: &Status) -> Option<String> {
    let (plural, message) = (&kind.plural, &refused.message);
    let version = &kind.resource.api_version;
    match discovery::served(client, version, plural).await {
        Served::No => None,
        Served::Yes if refused.code == 403 => Some(format!(
            "the operator may not list {plural} of {version}: give it the verbs list and watch of them, with the chart \
             by rbac.extraRules ({message})"
        )),
        Served::Yes => Some(format!(
            "the API server serves {plural} of {version} and does not list them ({message})"
        )),
        Served::Unknown(why) => Some(format!(
            "the API server does not list {plural} of {version} and does not say whether it serves them ({message}; {why})"
        )),
    }
}

/// Returns the reason why a list that was not refused is not complete yet.
fn delay(kind: &ResourceType, error: &watcher::Error) -> String {
    format!(
        "the API server has not listed {} of {} since the operator started ({})",
        kind.plural,
        kind.resource.api_version,
        watch_error_text(error)
    )
}

/// Adds `apiVersion` and `kind`, which items of lists do not have, unlike those of watches.
fn with_type_meta(mut object: Object, kind: &ResourceType) -> Object {
    if !object.json.starts_with("{\"apiVersion\"") {
        let head = format!(
            "{{\"apiVersion\":\"{}\",\"kind\":\"{}\",",
            kind.resource.api_version, kind.resource.kind
        );
        object.json = (head + object.json.trim_start_matches('{')).into();
    }
    object
}

/// Returns the message for a watch that does not work. If the kind is not served (`is_missing`), the
/// message is the same for a user without the permission to list it, for whom the API server reports the missing permission
/// first.
fn failure_message(kind: &ResourceType, error: &watcher::Error, is_missing: bool) -> Message {
    let name = kind.resource.kind.as_str();
    let plural = &kind.plural;
    let reason = watch_error_text(error);
    let code = if is_missing {
        404
    } else {
        answered(error).map_or(0, |status| status.code)
    };
    let (level, text) = match code {
        404 if kind.as_dask().is_some() => (
            Level::WARN,
            format!(
                "this cluster has no {name} resources: install their definitions with \
                 `dask-operator crds | kubectl apply --server-side -f -`, or start with --install-crds; trying again"
            ),
        ),
        404 => (
            Level::WARN,
            format!(
                "this cluster has no {} {name}; trying again",
                kind.resource.api_version
            ),
        ),
        401 | 403 => (
            Level::WARN,
            format!("the operator may not list and watch {plural}: {reason}; trying again"),
        ),
        410 => (
            Level::DEBUG,
            format!("the watch of {plural} is too old: listing again"),
        ),
        // Happens after each definition of a kind, until the API server has read its objects.
        429 => (
            Level::INFO,
            format!("the API server can't list {plural} yet ({reason}); trying again"),
        ),
        _ => (
            Level::WARN,
            format!("the watch of {plural} broke ({reason}); trying again"),
        ),
    };
    Message { level, text }
}

#[cfg(test)]
mod tests {
    use dask_operator_core::plan::ResourceKind;
    use futures::{StreamExt as _, stream};
    use kube::runtime::watcher::Event;
    use parking_lot::Mutex;
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::client::discovery::tests::{Answers, refused, server};
    use crate::client::watch::process;

    #[derive(Default)]
    struct Log(Mutex<Vec<String>>);

    impl Log {
        fn add(&self, text: String) {
            self.0.lock().push(text);
        }
    }

    impl Watcher for Log {
        fn changed(&self, _: &ResourceType, change: ObjectChange) {
            self.add(match (change.before, change.after) {
                (None, Some(after)) => format!("new {}", after.name),
                (Some(_), Some(after)) => format!("changed {}", after.name),
                (before, None) => format!(
                    "gone {}",
                    before.map(|object| object.name.to_string()).unwrap_or_default()
                ),
            });
        }

        fn synced(&self, _: &ResourceType, _: Option<&str>) {
            self.add("synced".into());
        }

        fn refused(&self, kind: &ResourceType, _: Option<&str>, why: Option<String>) {
            self.add(format!(
                "refused {}: {}",
                kind.resource.kind,
                why.unwrap_or_default()
            ));
        }

        fn delayed(&self, kind: &ResourceType, _: Option<&str>, why: String) {
            self.add(format!("delayed {}: {why}", kind.resource.kind));
        }

        fn failed(&self, _: &ResourceType) {
            self.add("failed".into());
        }
    }

    fn pod(name: &str, version: u64) -> WatchObject<true> {
        let value: Value = json!({"metadata": {
            "name": name, "namespace": "n", "uid": name, "resourceVersion": version.to_string(),
        }});
        serde_json::from_value(value).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn the_message_of_the_api_server_is_logged() {
        let kind = ResourceType::of(ResourceKind::new("v1", "Pod"));
        let logged = |code: u16, message: &str| {
            let status = json!({"status": "Failure", "message": message, "code": code});
            let status: kube::core::Status =
                serde_json::from_value(status).unwrap_or_else(|error| panic!("{error}"));
            let error = watcher::Error::InitialListFailed(kube::Error::Api(Box::new(status)));
            let Message { level, text } = failure_message(&kind, &error, false);
            format!("{level} {text}")
        };
        assert_eq!(
            logged(429, "storage is (re)initializing"),
            "INFO the API server can't list pods yet (storage is (re)initializing); trying again"
        );
        assert_eq!(
            logged(403, "pods is forbidden"),
            "WARN the operator may not list and watch pods: pods is forbidden; trying again"
        );
        assert_eq!(
            logged(500, "etcd is gone"),
            "WARN the watch of pods broke (etcd is gone); trying again"
        );
    }

    #[tokio::test]
    async fn looks_up_an_object_by_its_name() {
        type Respond = tower_test::mock::SendResponse<http::Response<kube::client::Body>>;
        let (service, mut handle) = tower_test::mock::pair::<http::Request<kube::client::Body>, _>();
        let client = Client::new(service, "default");
        let asked = tokio::spawn(async move {
            let mut asked = Vec::new();
            for items in [
                json!([{"metadata": {"name": "a", "namespace": "n", "uid": "u"}}]),
                json!([]),
            ] {
                let Some((request, respond)): Option<(http::Request<_>, Respond)> =
                    handle.next_request().await
                else {
                    break;
                };
                asked.push(request.uri().to_string());
                let page = json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items});
                let page = kube::client::Body::from(page.to_string().into_bytes());
                respond.send_response(http::Response::new(page));
            }
            asked
        });
        let kind = ResourceType::of(ResourceKind::new("v1", "Pod"));
        let object = pod("a", 1).into_object();
        let mut found = Vec::new();
        for _ in 0..2 {
            let looked = find(&client, &kind, &object).await;
            let looked = looked.unwrap_or_else(|error| panic!("{error}"));
            found.push(looked.map(|object| object.uid.to_string()));
        }
        assert_eq!(found, [Some("u".to_owned()), None]);
        let path = "/api/v1/namespaces/n/pods?&fieldSelector=metadata.name%3Da";
        assert_eq!(asked.await.unwrap_or_default(), [path, path]);
    }

    #[tokio::test]
    async fn events_of_a_watch_become_changes() {
        let (store, log) = (Store::default(), Log::default());
        let kind = ResourceType::of(ResourceKind::new("v1", "Pod"));
        let events = vec![
            Ok(Event::Init),
            Ok(Event::InitApply(pod("a", 1))),
            Ok(Event::InitApply(pod("b", 2))),
            Ok(Event::InitDone),
            Ok(Event::Apply(pod("a", 3))),
            Ok(Event::Delete(pod("b", 4))),
            Err(watcher::Error::NoResourceVersion),
            Ok(Event::Init),
            Ok(Event::InitApply(pod("c", 5))),
            Ok(Event::InitDone),
        ];
        let client = server(Answers::Silence, "v1");
        let mut filler = StoreFiller::new(&client, &kind, None, &store, &log);
        process(stream::iter(events), &mut filler).await;
        let log = log.0.into_inner();
        assert_eq!(
            log,
            [
                "new a",
                "new b",
                "synced",
                "changed a",
                "gone b",
                "failed",
                "new c",
                "gone a",
                "synced"
            ]
        );
        let stored = store.get("n", "c").map(|object| object.value());
        assert_eq!(
            stored.map(|value| (value["apiVersion"].clone(), value["kind"].clone())),
            Some((json!("v1"), json!("Pod")))
        );
    }

    /// Needed kinds are waited for, whatever the API server answers.
    #[rstest]
    #[case::not_served("g/v1/Gadget", 404, Answers::NoGroup, &["failed", "refused Gadget: ", "synced"])]
    #[case::no_right(
        "g/v1/Gadget", 403, Answers::Kinds(&["gadgets"]),
        &["failed", "refused Gadget: the operator may not list gadgets of g/v1: give it the verbs list and watch of them, with \
                     the chart by rbac.extraRules (user x cannot list)", "synced"]
    )]
    #[case::silence(
        "g/v1/Gadget", 404, Answers::Silence,
        &["failed", "refused Gadget: the API server does not list gadgets of g/v1 and does not say whether it serves them \
                     (user x cannot list; discovery did not answer within 3 s)", "synced"]
    )]
    #[case::not_yet(
        "g/v1/Gadget", 429, Answers::NoGroup,
        &["failed", "delayed Gadget: the API server has not listed gadgets of g/v1 since the operator started (user x cannot \
                     list)", "synced"]
    )]
    #[case::needed("v1/Pod", 403, Answers::NoGroup, &["failed", "synced"])]
    #[case::needed_and_not_yet("v1/Pod", 429, Answers::NoGroup, &["failed", "synced"])]
    #[tokio::test(start_paused = true)]
    async fn the_cause_of_a_failed_list_is_reported(
        #[case] kind: &str,
        #[case] code: u16,
        #[case] answers: Answers,
        #[case] expected: &[&str],
    ) {
        let (store, log) = (Store::default(), Log::default());
        let kind = ResourceType::of_child(kind).unwrap_or_else(|error| panic!("{error}"));
        let refusal = || {
            let status: Status = serde_json::from_value(refused(code).1).unwrap_or_default();
            Err(watcher::Error::InitialListFailed(kube::Error::Api(
                status.boxed(),
            )))
        };
        // A kind that was listed before stays known, whatever happens later.
        let events = vec![refusal(), Ok(Event::Init), Ok(Event::InitDone), refusal()];
        let events = stream::iter(events).map(|event: watcher::Result<Event<WatchObject<false>>>| event);
        let client = server(answers, "g/v1");
        let mut filler = StoreFiller::new(&client, &kind, None, &store, &log);
        process(events, &mut filler).await;
        let log = log.0.into_inner();
        let expected: Vec<_> = expected.iter().copied().chain(["failed"]).collect();
        assert_eq!(log, expected);
    }
}
