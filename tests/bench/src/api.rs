//! Client of the API server for the benchmark: creates namespaces and thousands of objects, and counts them.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Namespace as NamespaceObject, Node, Pod};
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, ListParams, PartialObjectMeta, Patch, PatchParams, PostParams,
    PropagationPolicy, ResourceExt, WatchEvent, WatchParams,
};
use kube::{Client, Config};
use serde_json::{Value, json};

/// A connection to the API server. Clones share it.
#[derive(Clone)]
pub(crate) struct Api {
    client: Client,
    timeout: Duration,
}

impl Api {
    /// Connects to the cluster that `KUBECONFIG` names. `timeout` limits each wait.
    pub(crate) async fn connect(timeout: Duration) -> Result<Self> {
        let config = Config::infer()
            .await
            .context("no cluster: set KUBECONFIG, or start one with `make cluster`")?;
        let client = Client::try_from(config)?;
        client
            .apiserver_version()
            .await
            .context("the API server that KUBECONFIG names does not answer")?;
        Ok(Self { client, timeout })
    }

    /// Returns the address range of Services. An error if there is a node other than fake ones, whose kube-proxy would forward
    /// what is sent to these addresses.
    pub(crate) async fn service_range(&self) -> Result<String> {
        let nodes: kube::Api<Node> = kube::Api::all(self.client.clone());
        let real = nodes
            .list_metadata(&ListParams::default().labels("type!=kwok").limit(1))
            .await?;
        ensure!(
            real.items.is_empty(),
            "the benchmark needs a control plane without real nodes: run it with tests/bench/run, without KUBECONFIG"
        );
        let ranges: kube::Api<ServiceCIDR> = kube::Api::all(self.client.clone());
        let spec = ranges.get("kubernetes").await?.spec;
        let range = spec.and_then(|spec| spec.cidrs?.into_iter().next());
        range.context("the ServiceCIDR kubernetes has no range")
    }

    /// Calls `done` until it returns true. The pause between two calls grows with the duration of a call, so that the wait takes
    /// little time from what is measured, but is at most 200 ms. `what` names the awaited state in the error.
    pub(crate) async fn until(&self, what: &str, mut done: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
        let start = Instant::now();
        loop {
            let call = Instant::now();
            if done().await? {
                return Ok(());
            }
            if start.elapsed() > self.timeout {
                bail!("waited {} s for {what}", self.timeout.as_secs());
            }
            let pause = 5 * call.elapsed();
            tokio::time::sleep(pause.clamp(Duration::from_millis(20), Duration::from_millis(200))).await;
        }
    }
}

/// Kinds of the objects that benchmarks create, read and count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A `DaskJob`.
    Job,
    /// A `DaskCluster`.
    Cluster,
    /// A `DaskWorkerGroup`.
    WorkerGroup,
    /// A Service.
    Service,
    /// A pod.
    Pod,
    /// A Deployment.
    Deployment,
    /// A ReplicaSet.
    ReplicaSet,
}

impl Kind {
    /// All kinds that the operator creates or reads. Owners come before the objects that they own.
    pub(crate) const ALL: [Self; 5] = [
        Self::Job,
        Self::Cluster,
        Self::WorkerGroup,
        Self::Service,
        Self::Pod,
    ];

    /// Kinds whose controllers replace deleted pods. Only dask-kubernetes creates them. Owners come first.
    const CONTROLLERS: [Self; 2] = [Self::Deployment, Self::ReplicaSet];

    /// Returns the name of the kind.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Job => "DaskJob",
            Self::Cluster => "DaskCluster",
            Self::WorkerGroup => "DaskWorkerGroup",
            Self::Service => "Service",
            Self::Pod => "Pod",
            Self::Deployment => "Deployment",
            Self::ReplicaSet => "ReplicaSet",
        }
    }

    /// Returns the name of the kind in URLs.
    pub(crate) fn plural(self) -> String {
        format!("{}s", self.name().to_lowercase())
    }

    /// Returns the kind of an object in JSON.
    pub(crate) fn of(object: &Value) -> Result<Self> {
        let kind = object["kind"].as_str().unwrap_or_default();
        let found = Self::ALL.into_iter().find(|known| known.name() == kind);
        found.with_context(|| format!("unexpected kind {kind:?}"))
    }

    fn resource(self) -> ApiResource {
        let (group, api_version) = match self {
            Self::Service | Self::Pod => ("", "v1"),
            Self::Deployment | Self::ReplicaSet => ("apps", "apps/v1"),
            Self::Job | Self::Cluster | Self::WorkerGroup => {
                ("kubernetes.dask.org", "kubernetes.dask.org/v1")
            }
        };
        ApiResource {
            group: group.into(),
            version: "v1".into(),
            api_version: api_version.into(),
            kind: self.name().into(),
            plural: self.plural(),
        }
    }
}

/// Maximum duration of a watch in seconds: the most that a client may request.
const WATCH_SECONDS: u32 = 294;

/// Watch that counts the objects of a kind in a namespace. It shows a new object within milliseconds, whereas a count may wait for
/// 100 ms until the API server's cache is known to be current.
pub(crate) struct ObjectWatch {
    events: BoxStream<'static, kube::Result<WatchEvent<PartialObjectMeta<DynamicObject>>>>,
    names: HashSet<String>,
    kind: Kind,
    timeout: Duration,
}

impl ObjectWatch {
    /// Waits until there are `count` objects. Must be called as soon as objects are created, because the API server ends a watch
    /// whose events are not read.
    pub(crate) async fn until(&mut self, count: usize) -> Result<()> {
        let (plural, timeout) = (self.kind.plural(), self.timeout);
        let seen = async {
            while self.names.len() != count {
                let event = self.events.next().await;
                let event = event.with_context(|| format!("the watch of {plural} has ended"))??;
                match event {
                    WatchEvent::Added(object) => {
                        self.names.insert(object.name_any());
                    }
                    WatchEvent::Deleted(object) => {
                        self.names.remove(&object.name_any());
                    }
                    WatchEvent::Error(error) => bail!("the watch of {plural} failed: {error}"),
                    WatchEvent::Modified(_) | WatchEvent::Bookmark(_) => {}
                }
            }
            Ok(())
        };
        tokio::time::timeout(timeout, seen)
            .await
            .with_context(|| format!("waited {} s for {count} {plural}", timeout.as_secs()))?
    }
}

/// A namespace that the benchmark created.
pub(crate) struct Namespace {
    api: Api,
    name: String,
}

impl Namespace {
    /// Creates a namespace whose name starts with `prefix`.
    pub(crate) async fn create(api: &Api, prefix: &str) -> Result<Self> {
        let object = serde_json::from_value(json!({"metadata": {"generateName": format!("{prefix}-")}}))?;
        let created: NamespaceObject = kube::Api::all(api.client.clone())
            .create(&PostParams::default(), &object)
            .await?;
        let name = created
            .metadata
            .name
            .context("the API server returned a namespace without a name")?;
        let api = api.clone();
        let namespace = Self { api, name };
        // The API server refuses pods until the service account exists.
        let accounts: kube::Api<k8s_openapi::api::core::v1::ServiceAccount> =
            kube::Api::namespaced(namespace.api.client.clone(), &namespace.name);
        namespace
            .until("its service account", async || {
                Ok(accounts.get_opt("default").await?.is_some())
            })
            .await?;
        Ok(namespace)
    }

    /// Creates `count` namespaces whose names start with `prefix`.
    pub(crate) async fn create_many(api: &Api, prefix: &str, count: usize) -> Result<Vec<Self>> {
        let new = stream::iter(0..count).map(async |_| Self::create(api, prefix).await);
        new.buffer_unordered(16).try_collect().await
    }

    /// Returns the name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn pods(&self) -> kube::Api<Pod> {
        kube::Api::namespaced(self.api.client.clone(), &self.name)
    }

    fn objects(&self, kind: Kind) -> kube::Api<DynamicObject> {
        kube::Api::namespaced_with(self.api.client.clone(), &self.name, &kind.resource())
    }

    /// Creates `count` copies of `pod`, at most `concurrency` requests at a time.
    pub(crate) async fn create_pods(&self, pod: &Value, count: usize, concurrency: usize) -> Result<()> {
        let pods = self.pods();
        stream::iter(0..count)
            .map(async |i| {
                let mut pod = pod.clone();
                pod["metadata"]["name"] = json!(format!("bench-default-worker-{i:010x}"));
                pod["metadata"]["namespace"] = json!(self.name);
                pods.create(&PostParams::default(), &serde_json::from_value(pod)?)
                    .await?;
                anyhow::Ok(())
            })
            .buffer_unordered(concurrency)
            .try_collect()
            .await
    }

    /// Creates an object, and returns its UID.
    pub(crate) async fn create_object(&self, object: Value) -> Result<String> {
        let kind = Kind::of(&object)?;
        let object = serde_json::from_value(object)?;
        let created = self
            .objects(kind)
            .create(&PostParams::default(), &object)
            .await
            .with_context(|| format!("creating the {}", kind.name()))?;
        created
            .metadata
            .uid
            .context("the API server returned an object without a UID")
    }

    /// Changes an object by a merge patch.
    pub(crate) async fn patch(&self, kind: Kind, name: &str, patch: &Value) -> Result<()> {
        self.objects(kind)
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .with_context(|| format!("changing {} {name}", kind.name()))?;
        Ok(())
    }

    /// Applies the status of an object, as the operator does.
    pub(crate) async fn apply_status(&self, kind: Kind, name: &str, status: &Value) -> Result<()> {
        let resource = kind.resource();
        let object = json!({
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {"name": name},
            "status": status,
        });
        let parameters = PatchParams::apply("dask-operator-bench").force();
        self.objects(kind)
            .patch_status(name, &parameters, &Patch::Apply(&object))
            .await
            .with_context(|| format!("applying the status of {} {name}", kind.name()))?;
        Ok(())
    }

    /// Deletes an object, and leaves the objects that it owns to the garbage collection.
    pub(crate) async fn delete_object(&self, kind: Kind, name: &str) -> Result<()> {
        let parameters = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            ..DeleteParams::default()
        };
        self.objects(kind)
            .delete(name, &parameters)
            .await
            .with_context(|| format!("deleting {} {name}", kind.name()))?;
        Ok(())
    }

    /// Returns all objects of a kind, in the state of the API server's cache.
    pub(crate) async fn list(&self, kind: Kind) -> Result<Vec<Value>> {
        let cached = ListParams::default().match_any();
        let list = self.objects(kind).list(&cached).await?;
        let json = |object| Ok(serde_json::to_value(object)?);
        list.items.into_iter().map(json).collect()
    }

    /// Returns the address of a Service.
    pub(crate) async fn service_address(&self, name: &str) -> Result<IpAddr> {
        let service = self.objects(Kind::Service).get(name).await?;
        let address = service.data["spec"]["clusterIP"].as_str().unwrap_or_default();
        address
            .parse()
            .with_context(|| format!("the Service {name} has no address"))
    }

    /// Returns the number of objects of a kind. Lists one object and reads the number of the remaining ones, which costs the
    /// API server very little.
    pub(crate) async fn count(&self, kind: Kind) -> Result<usize> {
        let one = ListParams::default().limit(1);
        let page = self.objects(kind).list_metadata(&one).await?;
        let others = page.metadata.remaining_item_count.unwrap_or(0);
        Ok(page.items.len() + usize::try_from(others)?)
    }

    /// Returns the number of pods with these labels in the API server's cache, which answers at once.
    pub(crate) async fn count_labelled(&self, labels: &str) -> Result<usize> {
        let cached = ListParams::default().labels(labels).match_any();
        Ok(self.pods().list_metadata(&cached).await?.items.len())
    }

    /// Returns whether no pod with these labels is in another phase.
    pub(crate) async fn are_all_pods(&self, labels: &str, phase: &str) -> Result<bool> {
        let others = ListParams::default()
            .labels(labels)
            .fields(&format!("status.phase!={phase}"))
            .match_any();
        Ok(self.pods().list_metadata(&others).await?.items.is_empty())
    }

    /// Returns the number of pods.
    pub(crate) async fn count_pods(&self) -> Result<usize> {
        self.count(Kind::Pod).await
    }

    /// Waits until there are `count` pods.
    pub(crate) async fn wait_for_pods(&self, count: usize) -> Result<()> {
        self.wait_for(Kind::Pod, count).await
    }

    /// Waits until there are `count` objects of a kind. Counts rarely while many are missing, because the API server creates no
    /// objects while it counts thousands.
    pub(crate) async fn wait_for(&self, kind: Kind, count: usize) -> Result<()> {
        self.until(&format!("{count} {}", kind.plural()), async || {
            let missing = count.abs_diff(self.count(kind).await?);
            if missing > count / 10 {
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
            Ok(missing == 0)
        })
        .await
    }

    /// Starts a watch of the objects of a kind.
    pub(crate) async fn watch(&self, kind: Kind) -> Result<ObjectWatch> {
        let parameters = WatchParams::default().timeout(WATCH_SECONDS);
        // First, the watch shows the objects that exist.
        let events = self.objects(kind).watch_metadata(&parameters, "0").await?;
        Ok(ObjectWatch {
            events: events.boxed(),
            names: HashSet::new(),
            kind,
            timeout: self.api.timeout,
        })
    }

    /// Deletes all objects of all kinds in [`Kind`], and waits until they no longer exist.
    pub(crate) async fn clear(&self) -> Result<()> {
        let now = DeleteParams {
            grace_period_seconds: Some(0),
            ..DeleteParams::default()
        };
        let all = ListParams::default();
        // Controllers first, because they replace deleted pods. Then owned objects before their owners, which spares the
        // garbage collection most of its work.
        let kinds = || Kind::CONTROLLERS.into_iter().chain(Kind::ALL.into_iter().rev());
        for kind in kinds() {
            self.objects(kind).delete_collection(&now, &all).await?;
        }
        for kind in kinds() {
            self.wait_for(kind, 0).await?;
        }
        Ok(())
    }

    /// Deletes the namespace with all its objects and waits until it no longer exists.
    pub(crate) async fn delete(self) -> Result<()> {
        self.clear().await?;
        let all: kube::Api<NamespaceObject> = kube::Api::all(self.api.client.clone());
        all.delete(&self.name, &DeleteParams::default()).await?;
        self.until("the deletion of the namespace", async || {
            Ok(all.get_opt(&self.name).await?.is_none())
        })
        .await
    }

    /// Deletes many namespaces as [`Self::delete`] does.
    pub(crate) async fn delete_many(namespaces: Vec<Self>) -> Result<()> {
        futures::future::try_join_all(namespaces.into_iter().map(Self::delete)).await?;
        Ok(())
    }

    /// Calls `done` until it returns true, as [`Api::until`] does.
    pub(crate) async fn until(&self, what: &str, done: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
        let what = format!("{what} in namespace {}", self.name);
        self.api.until(&what, done).await
    }
}
