//! The watches of plugin resources, and of the labels of namespaces.

use std::time::Duration;

use dask_operator_api::{ClusterDaskPlugin, DaskPlugin};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Namespace;
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Config, DefaultBackoff, Event, watcher};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::resource::{PluginKind, Resource};
use super::{Labels, PluginId};
use crate::watches::WATCH_SECONDS;

/// How often a watch that keeps failing says so.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// Where plugin resources are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Those of the cluster.
    Cluster,
    /// Those of all namespaces.
    AllNamespaces,
    /// Those of one namespace.
    Namespace(String),
}

impl Place {
    /// All places that an operator of these namespaces (empty for all) looks at.
    pub(super) fn of(namespaces: &[String]) -> Vec<Self> {
        match namespaces {
            [] => vec![Self::Cluster, Self::AllNamespaces],
            some => some.iter().cloned().map(Self::Namespace).collect(),
        }
    }

    /// The plural of what is there, and the namespace.
    pub(super) fn watched(&self) -> (&'static str, Option<&str>) {
        match self {
            Self::Cluster => ("clusterdaskplugins", None),
            Self::AllNamespaces => ("daskplugins", None),
            Self::Namespace(namespace) => ("daskplugins", Some(namespace)),
        }
    }

    /// Its name in messages.
    pub(super) fn title(&self) -> String {
        match self.watched() {
            (plural, Some(namespace)) => format!("{plural} in {namespace}"),
            (plural, None) => plural.to_owned(),
        }
    }

    /// Whether a plugin is there.
    pub(super) fn has(&self, id: &PluginId) -> bool {
        match self {
            Self::Cluster => id.namespace.is_none(),
            Self::AllNamespaces => id.namespace.is_some(),
            Self::Namespace(namespace) => id.namespace.as_ref() == Some(namespace),
        }
    }
}

/// What a watch has to tell.
pub(super) enum Told {
    /// A plugin is there, new or changed.
    Seen(Box<Resource>),
    /// A plugin is gone.
    Gone(PluginId),
    /// All that are in a place.
    Listed(Place, Vec<PluginId>),
    /// There are no such resources in this cluster, or the operator may not see them.
    Unavailable(Place),
    /// A namespace's labels.
    Namespace(String, Labels),
    /// A namespace is gone.
    NamespaceGone(String),
    /// All namespaces are known, or none can be.
    NamespacesListed,
}

/// Watches the plugins of a place for ever.
pub(super) async fn plugins(client: Client, place: Place, tell: UnboundedSender<Told>) {
    match &place {
        Place::Cluster => follow::<ClusterDaskPlugin>(Api::all(client), place, tell).await,
        Place::AllNamespaces => follow::<DaskPlugin>(Api::all(client), place, tell).await,
        Place::Namespace(namespace) => {
            let api = Api::<DaskPlugin>::namespaced(client, namespace);
            follow(api, place, tell).await;
        }
    }
}

async fn follow<K: PluginKind>(api: Api<K>, place: Place, tell: UnboundedSender<Told>) {
    // Nobody listens any more when the operator ends.
    let send = |told| {
        let _ = tell.send(told);
    };
    let id = |object: &K| PluginId {
        namespace: object.namespace(),
        name: object.name_any(),
    };
    let seen = |object: K| {
        let id = id(&object);
        match object.read() {
            Ok(resource) => send(Told::Seen(Box::new(resource))),
            Err(error) => warn!(plugin = %id, "a selector makes no sense: {error}"),
        }
    };
    let config = Config::default().timeout(WATCH_SECONDS);
    let events = watcher(api, config).backoff(DefaultBackoff::default());
    let mut events = std::pin::pin!(events);
    let mut listed = Vec::new();
    let mut said: Option<Instant> = None;
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(object)) => {
                listed.push(id(&object));
                seen(object);
            }
            Ok(Event::InitDone) => {
                said = None;
                send(Told::Listed(place.clone(), std::mem::take(&mut listed)));
            }
            Ok(Event::Apply(object)) => seen(object),
            Ok(Event::Delete(object)) => send(Told::Gone(id(&object))),
            Err(error) => {
                let unavailable = is_unavailable(&error);
                if unavailable {
                    send(Told::Unavailable(place.clone()));
                }
                if said.is_none_or(|said| said.elapsed() >= SAY_AGAIN) {
                    said = Some(Instant::now());
                    let plural = K::plural(&());
                    if unavailable {
                        warn!(
                            "{plural} can't be seen, and there are no plugins as long as that is so: {error}"
                        );
                    } else {
                        warn!("the watch of {plural} broke; trying again: {error}");
                    }
                }
            }
        }
    }
}

/// Watches the labels of all namespaces for ever.
pub(super) async fn namespaces(client: Client, tell: UnboundedSender<Told>) {
    let send = |told| {
        let _ = tell.send(told);
    };
    let seen = |object: PartialObjectMeta<Namespace>| {
        send(Told::Namespace(object.name_any(), object.labels().clone()));
    };
    let config = Config::default().timeout(WATCH_SECONDS);
    let api = Api::<PartialObjectMeta<Namespace>>::all(client);
    let events = watcher(api, config).backoff(DefaultBackoff::default());
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => {}
            Ok(Event::InitApply(object) | Event::Apply(object)) => seen(object),
            Ok(Event::Delete(object)) => send(Told::NamespaceGone(object.name_any())),
            Ok(Event::InitDone) => send(Told::NamespacesListed),
            Err(error) if is_unavailable(&error) => {
                warn!(
                    "the operator may not watch namespaces: a namespaceSelector can only choose by \
                     kubernetes.io/metadata.name: {error}"
                );
                send(Told::NamespacesListed);
            }
            Err(error) => debug!("the watch of namespaces broke; trying again: {error}"),
        }
    }
}

/// Whether there is no such resource, or it may not be seen.
fn is_unavailable(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => matches!(status.code, 403 | 404),
        _ => false,
    }
}
