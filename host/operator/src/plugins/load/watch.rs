//! Watches of plugin resources, and of the labels of namespaces.

use std::collections::BTreeSet;
use std::time::Duration;

use dask_operator_api::{ClusterDaskPlugin, DaskPlugin};
use dask_operator_core::names::DASK_API_VERSION;
use k8s_openapi::api::core::v1::Namespace;
use kube::core::{PartialObjectMeta, Status};
use kube::runtime::watcher::{self, Config};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::mpsc::Sender;
use tracing::Level;

use crate::client::discovery::{self, Served, refusal};
use crate::client::error::{answered, watch_error_text};
use crate::client::watch::{self, Handler, Message};
use crate::key::PluginId;
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
    let mut watch = PluginWatch {
        client,
        scope,
        sender,
        listed: Vec::new(),
    };
    watch::watch(api, Config::default().page_size(PAGE), &mut watch).await;
}

/// Sends the events of a watch of plugin resources.
struct PluginWatch {
    client: Client,
    scope: WatchScope,
    sender: Sender<WatchEvent>,
    /// Plugins in the current list.
    listed: Vec<PluginId>,
}

fn id<K: PluginKind>(object: &Lean<K>) -> PluginId {
    PluginId {
        namespace: object.namespace(),
        name: object.name_any(),
    }
}

impl<K: PluginKind> Handler<Lean<K>> for PluginWatch {
    const LOG_INTERVAL: Duration = LOG_INTERVAL;
    const LOG_AFTER_LIST: bool = true;

    fn list_started(&mut self) {
        self.listed.clear();
    }

    async fn listed(&mut self, object: Lean<K>) {
        self.listed.push(id(&object));
        self.changed(object).await;
    }

    async fn list_finished(&mut self) {
        let listed = std::mem::take(&mut self.listed);
        send(&self.sender, WatchEvent::Listed(self.scope.clone(), listed)).await;
    }

    async fn changed(&mut self, object: Lean<K>) {
        send(&self.sender, WatchEvent::Changed(Box::new(object.read()))).await;
    }

    async fn deleted(&mut self, object: Lean<K>) {
        send(&self.sender, WatchEvent::Deleted(id(&object))).await;
    }

    async fn failed(&mut self, error: &watcher::Error) -> Message {
        let scope = &self.scope;
        // The API server returns this after each change of a definition, until it has read the existing resources.
        if answered(error).is_some_and(|status| status.code == 429) {
            return Message {
                level: Level::INFO,
                text: format!("the API server can't list {} yet; trying again", scope.title()),
            };
        }
        let Some(status) = refusal(error) else {
            return Message::warning(format!(
                "the watch of {} broke ({}); trying again",
                scope.title(),
                watch_error_text(error)
            ));
        };
        let (event, text) = match unlisted_reason(&self.client, scope, status).await {
            Some(why) => {
                let text = format!("{why}; what is in force already stays so");
                (WatchEvent::NotListable(scope.clone(), why), text)
            }
            None => {
                let text = format!(
                    "this cluster has no {}, and there are no plugins as long as that is so: install their definitions with \
                     `dask-operator crds | kubectl apply --server-side -f -`",
                    scope.watched().0
                );
                (WatchEvent::NotInstalled(scope.clone()), text)
            }
        };
        send(&self.sender, event).await;
        Message::warning(text)
    }
}

/// Returns why the plugins of a scope, whose list was refused, can't be known. `None` if discovery reports that the cluster does
/// not have the kind, so that there are none. The code does not show that: 403 is returned for a kind that does not exist, too,
/// and 404 for a moment while a definition is replaced.
async fn unlisted_reason(client: &Client, scope: &WatchScope, refused: &Status) -> Option<String> {
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
    let api = Api::<PartialObjectMeta<Namespace>>::all(client);
    let mut watch = NamespaceWatch {
        sender,
        listed: BTreeSet::new(),
    };
    watch::watch(api, Config::default(), &mut watch).await;
}

/// Sends the events of a watch of namespaces.
struct NamespaceWatch {
    sender: Sender<WatchEvent>,
    /// Namespaces in the current list.
    listed: BTreeSet<String>,
}

impl Handler<PartialObjectMeta<Namespace>> for NamespaceWatch {
    const LOG_INTERVAL: Duration = LOG_INTERVAL;
    const LOG_AFTER_LIST: bool = false;

    fn list_started(&mut self) {
        self.listed.clear();
    }

    async fn listed(&mut self, object: PartialObjectMeta<Namespace>) {
        self.listed.insert(object.name_any());
        self.changed(object).await;
    }

    async fn list_finished(&mut self) {
        let listed = std::mem::take(&mut self.listed);
        send(&self.sender, WatchEvent::NamespacesListed(listed)).await;
    }

    async fn changed(&mut self, object: PartialObjectMeta<Namespace>) {
        let labels = WatchEvent::NamespaceLabels(object.name_any(), object.labels().clone());
        send(&self.sender, labels).await;
    }

    async fn deleted(&mut self, object: PartialObjectMeta<Namespace>) {
        send(&self.sender, WatchEvent::NamespaceDeleted(object.name_any())).await;
    }

    async fn failed(&mut self, error: &watcher::Error) -> Message {
        let Some(status) = refusal(error) else {
            return Message {
                level: Level::DEBUG,
                text: format!("the watch of namespaces broke; trying again: {error}"),
            };
        };
        let why = format!(
            "the operator may not list namespaces, and can choose by {NAMESPACE_NAME} only: give it the verbs list and \
             watch of namespaces ({})",
            status.message
        );
        send(&self.sender, WatchEvent::NamespacesForbidden(why.clone())).await;
        Message::warning(why)
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
    use tokio::time::Instant;

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
