//! Watches of plugin resources, and of the labels of namespaces.

use std::collections::BTreeSet;
use std::time::Duration;

use dask_operator_api::{ClusterDaskPlugin, DaskPlugin};
use dask_operator_core::names::DASK_API_VERSION;
use dask_operator_core::text::innermost;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Namespace;
use kube::core::{PartialObjectMeta, Status};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{Config, DefaultBackoff, Event, watcher};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::mpsc::Sender;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::client::discovery::{self, Served, refusal};
use crate::client::error::answered;
use crate::health::WATCH_SECONDS;
use crate::key::PluginId;
use crate::log_limit::LogLimit;
use crate::plugins::entry::NAMESPACE_NAME;
use crate::plugins::resource::{Lean, PluginKind, Resource};
use crate::plugins::watch_scope::WatchScope;
use crate::selection::Labels;

/// Number of plugin resources per page of a list. Each may be as large as the API server allows.
const PAGE: u32 = 50;

/// Interval in which a watch that keeps failing logs a warning.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Event of a watch.
pub(super) enum WatchEvent {
    /// A plugin was created or changed, or was listed.
    Changed(Box<Resource>),
    /// A plugin was deleted.
    Deleted(PluginId),
    /// All plugins of a scope are listed; these exist.
    Listed(WatchScope, Vec<PluginId>),
    /// The cluster does not have the kind.
    NotInstalled(WatchScope),
    /// The plugins can't be listed although there may be some, for this reason.
    NotListable(WatchScope, String),
    /// Labels of a namespace.
    NamespaceLabels(String, Labels),
    /// A namespace was deleted.
    NamespaceDeleted(String),
    /// All namespaces are listed; these exist.
    NamespacesListed(BTreeSet<String>),
    /// The operator may not list namespaces, for this reason.
    NamespacesForbidden(String),
}

/// Watches the plugins of a scope until the process exits.
pub(super) async fn plugins(client: Client, scope: WatchScope, sender: Sender<WatchEvent>) {
    match &scope {
        WatchScope::Cluster => {
            let api = Api::<Lean<ClusterDaskPlugin>>::all(client.clone());
            follow(client, api, scope, sender).await;
        }
        WatchScope::AllNamespaces => {
            let api = Api::<Lean<DaskPlugin>>::all(client.clone());
            follow(client, api, scope, sender).await;
        }
        WatchScope::Namespace(namespace) => {
            let api = Api::<Lean<DaskPlugin>>::namespaced(client.clone(), namespace);
            follow(client, api, scope, sender).await;
        }
    }
}

/// Sends an event as soon as the queue has room. The receiver is dropped on shutdown.
async fn send(sender: &Sender<WatchEvent>, event: WatchEvent) {
    let _ = sender.send(event).await;
}

async fn follow<K: PluginKind>(
    client: Client,
    api: Api<Lean<K>>,
    scope: WatchScope,
    sender: Sender<WatchEvent>,
) {
    let id = |object: &Lean<K>| PluginId {
        namespace: object.namespace(),
        name: object.name_any(),
    };
    let seen = |object: Lean<K>| WatchEvent::Changed(Box::new(object.read()));
    let config = Config::default().timeout(WATCH_SECONDS).page_size(PAGE);
    let events = watcher(api, config).backoff(DefaultBackoff::default());
    let mut events = std::pin::pin!(events);
    let mut listed = Vec::new();
    let mut log_limit = LogLimit::new(LOG_INTERVAL);
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(object)) => {
                listed.push(id(&object));
                send(&sender, seen(object)).await;
            }
            Ok(Event::InitDone) => {
                log_limit.reset();
                send(
                    &sender,
                    WatchEvent::Listed(scope.clone(), std::mem::take(&mut listed)),
                )
                .await;
            }
            Ok(Event::Apply(object)) => send(&sender, seen(object)).await,
            Ok(Event::Delete(object)) => send(&sender, WatchEvent::Deleted(id(&object))).await,
            // The API server returns this after each change of a definition, until it has read the existing resources.
            Err(error) if answered(&error).is_some_and(|status| status.code == 429) => {
                info!("the API server can't list {} yet; trying again", scope.title());
            }
            Err(error) => {
                let message = match refusal(&error) {
                    Some(status) => match hindrance(&client, &scope, status).await {
                        Some(why) => {
                            send(&sender, WatchEvent::NotListable(scope.clone(), why.clone())).await;
                            format!("{why}; what is in force already stays so")
                        }
                        None => {
                            send(&sender, WatchEvent::NotInstalled(scope.clone())).await;
                            format!(
                                "this cluster has no {}, and there are no plugins as long as that is so: install their \
                                 definitions with `dask-operator crds | kubectl apply --server-side -f -`",
                                scope.watched().0
                            )
                        }
                    },
                    None => {
                        let why = answered(&error)
                            .map_or_else(|| innermost(&error), |status| status.message.clone());
                        format!("the watch of {} broke ({why}); trying again", scope.title())
                    }
                };
                if log_limit.allows(Instant::now()) {
                    warn!("{message}");
                }
            }
        }
    }
}

/// Returns why the plugins of a scope, whose list was refused, can't be known. `None` if discovery reports that the cluster does
/// not have the kind, so that there are none. The code does not show that: 403 is returned for a kind that does not exist, too,
/// and 404 for a moment while a definition is replaced.
async fn hindrance(client: &Client, scope: &WatchScope, refused: &Status) -> Option<String> {
    let (plural, title) = (scope.watched().0, scope.title());
    let message = &refused.message;
    match discovery::served(client, DASK_API_VERSION, plural).await {
        Served::No => None,
        Served::Yes if refused.code == 403 => Some(format!(
            "the operator may not list {title}, and nothing is decided where a policy may be among them: give it the \
             verbs list and watch of {plural}.kubernetes.dask.org ({message})"
        )),
        Served::Yes => Some(format!(
            "the API server serves {title} and does not list them, and nothing is decided where a policy may be among \
             them; if that lasts, look at `kubectl get crd {plural}.kubernetes.dask.org` ({message})"
        )),
        // It is not safe to assume that there are no plugins.
        Served::Unknown(why) => Some(format!(
            "the API server does not list {title} and does not say whether it serves them, and nothing is decided where \
             a policy may be among them; if that lasts, look at `kubectl get --raw /apis/{DASK_API_VERSION}` ({message}; {why})"
        )),
    }
}

/// Watches the labels of all namespaces until the process exits.
pub(super) async fn namespaces(client: Client, sender: Sender<WatchEvent>) {
    let seen = |object: PartialObjectMeta<Namespace>| {
        WatchEvent::NamespaceLabels(object.name_any(), object.labels().clone())
    };
    let config = Config::default().timeout(WATCH_SECONDS);
    let api = Api::<PartialObjectMeta<Namespace>>::all(client);
    let events = watcher(api, config).backoff(DefaultBackoff::default());
    let mut events = std::pin::pin!(events);
    let mut listed = BTreeSet::new();
    let mut log_limit = LogLimit::new(LOG_INTERVAL);
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(object)) => {
                listed.insert(object.name_any());
                send(&sender, seen(object)).await;
            }
            Ok(Event::Apply(object)) => send(&sender, seen(object)).await,
            Ok(Event::Delete(object)) => send(&sender, WatchEvent::NamespaceDeleted(object.name_any())).await,
            Ok(Event::InitDone) => {
                send(&sender, WatchEvent::NamespacesListed(std::mem::take(&mut listed))).await
            }
            Err(error) => {
                let Some(status) = refusal(&error) else {
                    debug!("the watch of namespaces broke; trying again: {error}");
                    continue;
                };
                let why = format!(
                    "the operator may not list namespaces, and can choose by {NAMESPACE_NAME} only: give it the verbs \
                     list and watch of namespaces ({})",
                    status.message
                );
                if log_limit.allows(Instant::now()) {
                    warn!("{why}");
                }
                send(&sender, WatchEvent::NamespacesForbidden(why)).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use http::{Request, Response};
    use kube::client::Body;
    use rstest::rstest;
    use serde_json::json;
    use tokio::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::client::discovery::tests::{Answers, refused};

    /// An API server that refuses to list plugins with this code, until it is `mended`. Its discovery `answers` in this way.
    fn server(code: u16, answers: Answers, mended: Arc<AtomicBool>) -> Client {
        let answer = move |request: Request<Body>| {
            let uri = request.uri().to_string();
            let found = if !uri.contains("plugins") {
                answers.to(request.uri().path(), DASK_API_VERSION)
            } else if mended.load(Ordering::Relaxed) {
                let list = json!({"apiVersion": DASK_API_VERSION, "kind": "DaskPluginList",
                                  "metadata": {"resourceVersion": "1"}, "items": []});
                Some((200, list))
            } else {
                Some(refused(code))
            };
            let watch = uri.contains("watch=true");
            async move {
                let (code, body) = match found {
                    Some(found) if !watch => found,
                    _ => std::future::pending().await,
                };
                let mut response = Response::new(Body::from(body.to_string().into_bytes()));
                *response.status_mut() = code.try_into().unwrap_or_default();
                Ok::<_, Infallible>(response)
            }
        };
        Client::new(tower::service_fn(answer), "default")
    }

    async fn next(events: &mut Receiver<WatchEvent>) -> String {
        match events.recv().await {
            Some(WatchEvent::NotListable(scope, why)) => format!("{}: {why}", scope.title()),
            Some(WatchEvent::NotInstalled(scope)) => format!("no {}", scope.title()),
            Some(WatchEvent::Listed(scope, _)) => format!("listed {}", scope.title()),
            _ => "something else".to_owned(),
        }
    }

    #[rstest]
    #[case::not_installed(404, Answers::Kinds(&["daskclusters"]), "no daskplugins in a")]
    #[case::not_installed_and_forbidden(403, Answers::Kinds(&["daskclusters"]), "no daskplugins in a")]
    #[case::nothing_installed(404, Answers::NoGroup, "no daskplugins in a")]
    #[case::nothing_installed_and_forbidden(403, Answers::NoGroup, "no daskplugins in a")]
    #[case::forbidden(
        403, Answers::Kinds(&["daskclusters", "daskplugins"]),
        "daskplugins in a: the operator may not list daskplugins in a, and nothing is decided where a policy may be \
         among them: give it the verbs list and watch of daskplugins.kubernetes.dask.org (user x cannot list)"
    )]
    #[case::missing_for_a_moment(
        404, Answers::Kinds(&["daskclusters", "daskplugins"]),
        "daskplugins in a: the API server serves daskplugins in a and does not list them, and nothing is decided where \
         a policy may be among them; if that lasts, look at `kubectl get crd daskplugins.kubernetes.dask.org` \
         (user x cannot list)"
    )]
    #[case::silent(
        404,
        Answers::Silence,
        "daskplugins in a: the API server does not list daskplugins in a and does not say whether it serves them, and \
         nothing is decided where a policy may be among them; if that lasts, look at \
         `kubectl get --raw /apis/kubernetes.dask.org/v1` (user x cannot list; discovery did not answer within 3 s)"
    )]
    #[tokio::test(start_paused = true)]
    async fn distinguishes_missing_kinds_from_kinds_that_can_not_be_listed(
        #[case] code: u16,
        #[case] answers: Answers,
        #[case] expected: &str,
    ) {
        let (sender, mut events) = channel(1);
        let mended = Arc::new(AtomicBool::new(false));
        let scope = WatchScope::Namespace("a".to_owned());
        let watch = tokio::spawn(plugins(server(code, answers, mended.clone()), scope, sender));
        let begun = Instant::now();
        assert_eq!(next(&mut events).await, expected);
        assert!(begun.elapsed() <= discovery::LIMIT + Duration::from_millis(10));
        mended.store(true, Ordering::Relaxed);
        while next(&mut events).await != "listed daskplugins in a" {}
        watch.abort();
    }
}
