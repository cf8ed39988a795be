//! Attempt to load what a plugin resource requests: fetch it, prepare it, or fall back to the version before a restart.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use dask_operator_runtime::LoadErrorReason;
use futures::FutureExt;
use kube::Client;
use tracing::warn;

use crate::key::PluginId;
use crate::plugins::error::{LoadFailure, LoadReason};
use crate::plugins::load::cache::ComponentCache;
use crate::plugins::load::crash_records::{CrashHistory, CrashRecords};
use crate::plugins::load::fetch::{self, Fetched};
use crate::plugins::load::prepare::Loader;
use crate::plugins::load::trial_lock::TrialLock;
use crate::plugins::loaded::LoadedPlugin;
use crate::plugins::request::{LoadOutcome, LoadRequest};
use crate::plugins::resource::Resource;
use crate::plugins::sources::Sources;
use crate::threads::Weight;
use crate::threads::blocking;

/// Dependencies that all attempts share.
pub(super) struct LoadContext {
    pub(super) client: Client,
    pub(super) sources: Sources,
    pub(super) cache: ComponentCache,
    pub(super) loader: Loader,
    /// Components that are being tried, and those that ended the operator.
    pub(super) crash_records: CrashRecords,
    pub(super) trials: TrialLock,
}

impl LoadContext {
    /// Makes an attempt to load a plugin.
    pub(super) async fn attempt(self: Arc<Self>, request: LoadRequest) -> LoadOutcome {
        let (id, uid) = (request.resource.id.clone(), request.resource.uid.clone());
        let generation = request.resource.generation;
        let before = request.active.as_ref().map(LoadedPlugin::identity);
        let (loaded, failure) = catch_panic(&id, self.load_or_fall_back(&request)).await;
        LoadOutcome {
            id,
            uid,
            generation,
            before,
            loaded,
            failure,
        }
    }

    /// Returns the version to activate, or a fallback together with the reason why the spec can't be activated.
    async fn load_or_fall_back(
        self: &Arc<Self>,
        request: &LoadRequest,
    ) -> (Option<LoadedPlugin>, Option<LoadFailure>) {
        match self.load(request).await {
            Ok(loaded) => (loaded, None),
            Err(failure) => {
                let fallback = if request.active.is_none() && !failure.reason.forbids() {
                    self.fall_back(request).await
                } else {
                    None
                };
                (fallback, Some(failure))
            }
        }
    }

    /// Returns the version to activate; `None` if it is active already.
    async fn load(self: &Arc<Self>, request: &LoadRequest) -> Result<Option<LoadedPlugin>, LoadFailure> {
        let resource = &request.resource;
        if let Some(refused) = &request.refused {
            return Err(refused.clone());
        }
        resource.check()?;
        self.sources.check(resource)?;
        // A component that can't be used is fetched again: the source may hold other bytes by now.
        let may_be_used = |digest: &String| {
            !request.is_given_up(digest)
                && self.crash_records.history(digest, resource) < CrashHistory::Quarantined
        };
        if let Some(digest) = request
            .last_digest()
            .filter(|_| !request.recheck_source)
            .filter(may_be_used)
            && let Some(bytes) = self.cached(&resource.id, &digest).await
        {
            let image_digest = match &request.active {
                Some(active) => active.image_digest.clone(),
                None => resource.status.image_digest.clone(),
            };
            let fetched = Fetched {
                bytes,
                digest,
                image_digest,
            };
            return self.prepare(request, resource.clone(), fetched).await.map(Some);
        }
        let fetched = fetch::fetch(&self.sources, &self.client, resource).await;
        let fetched = fetched.map_err(LoadFailure::of_source)?;
        let digest = &fetched.digest;
        if request.rolled_back.as_ref() == Some(digest) {
            return Err(LoadFailure::new(
                LoadReason::RolledBack,
                format!(
                    "the component with the digest {digest} failed again and again, and was taken back: push \
                         another one, or change the resource to try this one again"
                ),
            ));
        }
        if request.is_active(digest) {
            return Ok(None);
        }
        if let Some(failure) = request.given_up.clone().filter(|_| request.is_given_up(digest)) {
            // There was no trial, so that this failure does not count.
            return Err(LoadFailure {
                tried: None,
                ..failure
            });
        }
        self.prepare(request, resource.clone(), fetched).await.map(Some)
    }

    /// Prepares the version that was active before a restart.
    async fn fall_back(self: &Arc<Self>, request: &LoadRequest) -> Option<LoadedPlugin> {
        let (resource, digest) = request.version_before_restart()?;
        let bytes = self.cached(&resource.id, &digest).await?;
        let fetched = Fetched {
            bytes,
            digest,
            image_digest: resource.status.image_digest.clone(),
        };
        match self.prepare(request, resource, fetched).await {
            Ok(loaded) => Some(loaded),
            Err(failure) => {
                warn!(plugin = %request.resource.id, "can't reactivate the version from before the restart: {failure}");
                None
            }
        }
    }

    /// Prepares a version from bytes, and stores the bytes for the next start.
    async fn prepare(
        self: &Arc<Self>,
        request: &LoadRequest,
        resource: Resource,
        fetched: Fetched,
    ) -> Result<LoadedPlugin, LoadFailure> {
        let digest = fetched.digest.clone();
        let _lock = match self.crash_records.history(&digest, &resource) {
            CrashHistory::Clean => self.trials.beside().await,
            CrashHistory::Suspect if request.alone || resource.id.namespace.is_none() => {
                self.trials.alone().await
            }
            CrashHistory::Suspect => {
                return Err(LoadFailure::new(
                    LoadReason::TriedAlone,
                    "the operator has ended while it tried this component, or another one of the namespace: it is tried \
                     with nothing beside it, as soon as it is its turn",
                ));
            }
            CrashHistory::Quarantined => {
                return Err(LoadFailure::new(
                    LoadReason::Quarantined,
                    format!(
                        "the operator has ended again and again while it tried the component with the digest {digest}, \
                         which is not tried any more: push another one, or change the resource to try this one again"
                    ),
                ));
            }
            CrashHistory::NamespaceQuarantined => {
                return Err(LoadFailure::new(
                    LoadReason::Quarantined,
                    "the operator has ended again and again while it tried plugins of this namespace: none of them is \
                     loaded until an hour has passed",
                ));
            }
        };
        let weight = Weight::heavy_if(resource.id.namespace.is_some());
        // While it waits for other compilations, no trial is recorded: if the operator ends, the component is not the cause.
        let context = self.clone();
        let (permit, resource, fetched) = blocking::run(weight, move || {
            let permit = context.loader.compile_permit(&resource, &fetched.bytes);
            (permit, resource, fetched)
        })
        .await;
        let trial = self.crash_records.begin(&digest, &resource);
        let context = self.clone();
        let prepared = blocking::run(weight, move || -> Result<LoadedPlugin, LoadFailure> {
            let loaded = context
                .loader
                .prepare(&resource, &fetched.bytes, fetched.image_digest, permit)?;
            if let Err(error) = context.cache.store(&resource.id, &loaded.digest, &fetched.bytes) {
                warn!(plugin = %resource.id, "can't store the component, so that the next start must fetch it: {error}");
            }
            Ok(loaded)
        });
        let prepared = prepared.await;
        if let Some(trial) = trial {
            trial.survived();
        }
        prepared.map_err(|failure| {
            if failure.reason.may_be_of_load() || failure.is_repetition {
                failure
            } else {
                failure.of(&digest)
            }
        })
    }

    /// Loads the stored bytes with this digest; `None` if there are none.
    async fn cached(self: &Arc<Self>, owner: &PluginId, digest: &str) -> Option<Vec<u8>> {
        let (context, owner, digest) = (self.clone(), owner.clone(), digest.to_owned());
        blocking::run(Weight::Light, move || context.cache.load(&owner, &digest)).await
    }
}

/// Returns the result of `attempt`. A panic is converted to a failure: without an outcome, the plugin would count as being loaded
/// forever, and nothing would be retried.
async fn catch_panic(
    id: &PluginId,
    attempt: impl Future<Output = (Option<LoadedPlugin>, Option<LoadFailure>)>,
) -> (Option<LoadedPlugin>, Option<LoadFailure>) {
    let attempt = AssertUnwindSafe(attempt).catch_unwind().await;
    attempt.unwrap_or_else(|_| {
        let message = format!(
            "{id} can't be loaded: the operator panicked while it tried, as its log says, which is a bug of the operator"
        );
        (None, Some(LoadFailure::new(LoadErrorReason::Unfit, message)))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dask_operator_core::digest::Digest;
    use dask_operator_evaluator::AllowedKinds;
    use dask_operator_runtime::{Compiling, Engine, EngineConfig, compile_permit};
    use kube::client::Body;
    use serde_json::json;
    use tokio::sync::mpsc;

    use super::*;
    use crate::client::resource::ResourceTypes;
    use crate::plugins::rights::TenantRights;
    use crate::plugins::state::PluginState;
    use crate::plugins::testing;

    /// A resource that requests any component.
    fn resource() -> Resource {
        let object = json!({"metadata": {"name": "p", "namespace": "n", "uid": "u", "generation": 2},
                            "spec": {"source": {}}});
        testing::of_namespace(object)
    }

    /// A component that only waits is not the cause if the operator ends meanwhile.
    #[tokio::test]
    async fn a_component_that_waits_for_its_compilation_is_not_recorded() {
        let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
        let engine = Engine::new(EngineConfig {
            cache: Some(folder.path().join("cache").into()),
            ..EngineConfig::default()
        });
        let engine = engine.unwrap_or_else(|error| panic!("{error}"));
        let others = compile_permit(&engine, b"other bytes", &Compiling::of_tenant("m"));
        assert!(others.is_some());
        let tried = folder.path().join("tried");
        let (service, _) = tower_test::mock::pair::<http::Request<Body>, http::Response<Body>>();
        let context = Arc::new(LoadContext {
            client: Client::new(service, "default"),
            sources: Sources::default(),
            cache: ComponentCache::new(None),
            loader: Loader {
                engine,
                watched: ResourceTypes::new([]),
                allowed_kinds: AllowedKinds::default(),
                rights: TenantRights::default(),
                reports: mpsc::unbounded_channel().0,
            },
            crash_records: CrashRecords::open(Some(tried.clone())),
            trials: TrialLock::default(),
        });
        let request = PluginState::new(resource())
            .begin()
            .unwrap_or_else(|| panic!("no attempt starts"));
        let fetched = Fetched {
            bytes: b"no component".to_vec(),
            digest: Digest::of(b"no component").to_string(),
            image_digest: None,
        };
        let prepared = context.prepare(&request, resource(), fetched);
        let mut prepared = std::pin::pin!(prepared);
        let soon = Duration::from_millis(50);
        assert!(tokio::time::timeout(soon, &mut prepared).await.is_err());
        assert!(!tried.exists(), "the trial has not begun");
        drop(others);
        assert!(prepared.await.is_err());
        assert!(tried.exists(), "the trial has begun");
    }

    async fn panics() -> (Option<LoadedPlugin>, Option<LoadFailure>) {
        panic!("in the middle")
    }

    #[tokio::test]
    async fn a_panic_is_a_failure() {
        let id = PluginId {
            namespace: Some("n".into()),
            name: "p".into(),
        };
        let (loaded, failure) = catch_panic(&id, panics()).await;
        assert!(loaded.is_none());
        assert_eq!(
            failure.map(|failure| failure.reason),
            Some(LoadErrorReason::Unfit.into())
        );
    }
}
