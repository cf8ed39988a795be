//! Client of the API server for the benchmark: creates namespaces and thousands of pods, and counts pods.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::{Namespace as NamespaceObject, Pod};
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, PostParams};
use kube::{Client, Config};
use serde_json::{Value, json};

/// A connection to the API server.
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
}

/// A namespace that the benchmark created.
pub(crate) struct Namespace<'a> {
    api: &'a Api,
    name: String,
}

impl<'a> Namespace<'a> {
    /// Creates a namespace whose name starts with `prefix`.
    pub(crate) async fn create(api: &'a Api, prefix: &str) -> Result<Self> {
        let object = serde_json::from_value(json!({"metadata": {"generateName": format!("{prefix}-")}}))?;
        let created: NamespaceObject = kube::Api::all(api.client.clone())
            .create(&PostParams::default(), &object)
            .await?;
        let name = created
            .metadata
            .name
            .context("the API server returned a namespace without a name")?;
        let namespace = Self { api, name };
        // The API server refuses pods until the service account exists.
        let accounts: kube::Api<k8s_openapi::api::core::v1::ServiceAccount> =
            kube::Api::namespaced(api.client.clone(), &namespace.name);
        namespace
            .until("its service account", async || {
                Ok(accounts.get_opt("default").await?.is_some())
            })
            .await?;
        Ok(namespace)
    }

    fn pods(&self) -> kube::Api<Pod> {
        kube::Api::namespaced(self.api.client.clone(), &self.name)
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

    /// Creates a `DaskCluster`.
    pub(crate) async fn create_cluster(&self, manifest: &Value) -> Result<()> {
        let kind = ApiResource {
            group: "kubernetes.dask.org".into(),
            version: "v1".into(),
            api_version: "kubernetes.dask.org/v1".into(),
            kind: "DaskCluster".into(),
            plural: "daskclusters".into(),
        };
        let clusters: kube::Api<DynamicObject> =
            kube::Api::namespaced_with(self.api.client.clone(), &self.name, &kind);
        let object = serde_json::from_value(manifest.clone())?;
        clusters
            .create(&PostParams::default(), &object)
            .await
            .context("creating the DaskCluster")?;
        Ok(())
    }

    /// Returns the number of pods. Lists one pod and reads the number of the remaining ones, which costs the API server very
    /// little.
    pub(crate) async fn count_pods(&self) -> Result<usize> {
        let page = self.pods().list_metadata(&ListParams::default().limit(1)).await?;
        let others = page.metadata.remaining_item_count.unwrap_or(0);
        Ok(page.items.len() + usize::try_from(others)?)
    }

    /// Waits until there are `count` pods. Counts rarely while many are missing, because the API server creates no pods while
    /// it counts thousands.
    pub(crate) async fn wait_for_pods(&self, count: usize) -> Result<()> {
        self.until(&format!("{count} pods"), async || {
            let missing = count.saturating_sub(self.count_pods().await?);
            if missing > count / 10 {
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
            Ok(missing == 0)
        })
        .await
    }

    /// Deletes the namespace with all its objects and waits until it no longer exists.
    pub(crate) async fn delete(self) -> Result<()> {
        let now = DeleteParams {
            grace_period_seconds: Some(0),
            ..DeleteParams::default()
        };
        self.pods()
            .delete_collection(&now, &ListParams::default())
            .await?;
        let all: kube::Api<NamespaceObject> = kube::Api::all(self.api.client.clone());
        all.delete(&self.name, &DeleteParams::default()).await?;
        self.until("the deletion of the namespace", async || {
            Ok(all.get_opt(&self.name).await?.is_none())
        })
        .await
    }

    /// Calls `done` every 20 ms until it returns true. `what` names the awaited state in the error.
    async fn until(&self, what: &str, done: impl AsyncFn() -> Result<bool>) -> Result<()> {
        let start = Instant::now();
        while !done().await? {
            if start.elapsed() > self.api.timeout {
                bail!(
                    "waited {} s for {what} in namespace {}",
                    self.api.timeout.as_secs(),
                    self.name
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}
