//! Attempt to prepare the spec of a plugin resource for activation.

mod trials;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use dask_operator_api::LastGood;
use futures::FutureExt;
use kube::Client;
use tracing::warn;

use super::failure::{LoadFailure, QUARANTINED, ROLLED_BACK, TRIED_ALONE};
use super::fetch::{Fetched, Sources};
use super::kept::Kept;
use super::marks::{Marks, Standing};
use super::prepare::{Good, Workshop};
use super::resource::Resource;
use crate::key::PluginId;
use crate::threads::Load;
use crate::threads::aside;
pub(super) use trials::Trials;

/// Dependencies that all attempts share.
pub(super) struct Means {
    pub(super) client: Client,
    pub(super) sources: Sources,
    pub(super) kept: Kept,
    pub(super) workshop: Workshop,
    /// Marks on components that are being tried, and on those that ended the operator.
    pub(super) marks: Marks,
    pub(super) trials: Trials,
}

/// One attempt.
pub(super) struct Attempt {
    pub(super) resource: Resource,
    /// Active version; `None` if there is none.
    pub(super) good: Option<Good>,
    /// Digest that was rolled back and must not be activated again.
    pub(super) rolled_back: Option<String>,
    /// Failure of a component that could not be used repeatedly, and is not tried again for now.
    pub(super) given_up: Option<LoadFailure>,
    /// Reason why the plugin must not be loaded at all.
    pub(super) refused: Option<LoadFailure>,
    /// True if a suspect of a tenant may be tried now, alone.
    pub(super) alone: bool,
    /// True if the source is fetched although the spec is unchanged.
    pub(super) look: bool,
}

/// Result of an attempt.
pub(super) struct Outcome {
    pub(super) id: PluginId,
    pub(super) uid: String,
    pub(super) generation: i64,
    /// Version that was active at the start of the attempt ([`Good::mark`]).
    pub(super) before: Option<(String, i64)>,
    /// Version to activate; `None` if the active one stays.
    pub(super) good: Option<Good>,
    /// Reason why the spec of the resource is not active; `None` if it is.
    pub(super) failure: Option<LoadFailure>,
}

impl Attempt {
    /// Makes the attempt.
    pub(super) async fn make(self, means: Arc<Means>) -> Outcome {
        let (id, uid) = (self.resource.id.clone(), self.resource.uid.clone());
        let generation = self.resource.generation;
        let before = self.good.as_ref().map(Good::mark);
        let (good, failure) = caught(&id, self.load_or_fall_back(&means)).await;
        Outcome {
            id,
            uid,
            generation,
            before,
            good,
            failure,
        }
    }

    /// Returns the version to activate, or a fallback together with the reason why the spec can't be activated.
    async fn load_or_fall_back(&self, means: &Arc<Means>) -> (Option<Good>, Option<LoadFailure>) {
        match self.load(means).await {
            Ok(good) => (good, None),
            Err(failure) => {
                let fallback = if self.good.is_none() && !failure.forbids() {
                    self.fall_back(means).await
                } else {
                    None
                };
                (fallback, Some(failure))
            }
        }
    }

    /// Returns the version to activate; `None` if it is active already.
    async fn load(&self, means: &Arc<Means>) -> Result<Option<Good>, LoadFailure> {
        let resource = &self.resource;
        if let Some(refused) = &self.refused {
            return Err(refused.clone());
        }
        resource.check()?;
        means.sources.check(resource)?;
        // A component that can't be used is fetched again: the source may hold other bytes by now.
        let may_be_used = |digest: &String| {
            !self.is_given_up(digest) && means.marks.standing(digest, resource) < Standing::Quarantined
        };
        if let Some(known) = self.known_digest().filter(|_| !self.look).filter(may_be_used)
            && let Some(bytes) = kept(means, &resource.id, &known).await
        {
            let image_digest = match &self.good {
                Some(good) => good.image_digest.clone(),
                None => resource.status.image_digest.clone(),
            };
            let fetched = Fetched {
                bytes,
                digest: known,
                image_digest,
            };
            return self.prepare(means, resource.clone(), fetched).await.map(Some);
        }
        let fetched = means.sources.fetch(&means.client, resource).await;
        let fetched = fetched.map_err(LoadFailure::of_source)?;
        let digest = &fetched.digest;
        if self.rolled_back.as_ref() == Some(digest) {
            return Err(LoadFailure::new(
                ROLLED_BACK,
                format!(
                    "the component with the digest {digest} failed again and again, and was taken back: push \
                         another one, or change the resource to try this one again"
                ),
            ));
        }
        if self
            .good
            .as_ref()
            .is_some_and(|good| good.digest == *digest && good.asked.spec == resource.spec)
        {
            return Ok(None);
        }
        if let Some(failure) = self.given_up.clone().filter(|_| self.is_given_up(digest)) {
            // There was no trial, so that this failure does not count.
            return Err(LoadFailure {
                tried: None,
                ..failure
            });
        }
        self.prepare(means, resource.clone(), fetched).await.map(Some)
    }

    /// Returns whether the component with this digest could not be used repeatedly.
    fn is_given_up(&self, digest: &str) -> bool {
        let given_up = self.given_up.as_ref();
        given_up.is_some_and(|failure| failure.tried.as_deref() == Some(digest))
    }

    /// Returns the digest of the source's bytes when they were last fetched; `None` if it is not known or was rolled back.
    fn known_digest(&self) -> Option<String> {
        let resource = &self.resource;
        if let Some(good) = &self.good {
            let (before, now) = (&good.asked.spec, &resource.spec);
            let same = before.source == now.source && before.digest == now.digest;
            let may_be = self.rolled_back.as_ref() != Some(&good.digest);
            return (same && may_be).then(|| good.digest.clone());
        }
        // After a restart.
        let last = resource.status.last_good.as_ref()?;
        let is_current = last.generation == resource.generation && last.rolled_back.is_none();
        (is_current && is_asked_for(resource, last)).then(|| last.digest.clone())
    }

    /// Prepares the version that was active before a restart.
    async fn fall_back(&self, means: &Arc<Means>) -> Option<Good> {
        let last = self.resource.status.last_good.as_ref()?;
        if !is_asked_for(&self.resource, last) {
            return None;
        }
        let bytes = kept(means, &self.resource.id, &last.digest).await?;
        let mut resource = self.resource.clone();
        resource.generation = last.generation;
        resource.spec.settings = last.settings.clone();
        let fetched = Fetched {
            bytes,
            digest: last.digest.clone(),
            image_digest: self.resource.status.image_digest.clone(),
        };
        match self.prepare(means, resource, fetched).await {
            Ok(good) => Some(good),
            Err(failure) => {
                warn!(plugin = %self.resource.id, "can't reactivate the version from before the restart: {failure}");
                None
            }
        }
    }

    /// Prepares a version from bytes, and stores the bytes for the next start.
    async fn prepare(
        &self,
        means: &Arc<Means>,
        resource: Resource,
        fetched: Fetched,
    ) -> Result<Good, LoadFailure> {
        let digest = fetched.digest.clone();
        let _trial = match means.marks.standing(&digest, &resource) {
            Standing::Free => means.trials.beside().await,
            Standing::Suspect if self.alone || resource.id.namespace.is_none() => means.trials.alone().await,
            Standing::Suspect => {
                return Err(LoadFailure::new(
                    TRIED_ALONE,
                    "the operator has ended while it tried this component, or another one of the namespace: it is tried \
                     with nothing beside it, as soon as it is its turn",
                ));
            }
            Standing::Quarantined => {
                return Err(LoadFailure::new(
                    QUARANTINED,
                    format!(
                        "the operator has ended again and again while it tried the component with the digest {digest}, \
                         which is not tried any more: push another one, or change the resource to try this one again"
                    ),
                ));
            }
            Standing::NamespaceQuarantined => {
                return Err(LoadFailure::new(
                    QUARANTINED,
                    "the operator has ended again and again while it tried plugins of this namespace: none of them is \
                     loaded until an hour has passed",
                ));
            }
        };
        let load = Load::heavy_if(resource.id.namespace.is_some());
        // While it waits for other compilations, a component is not marked: if the operator ends, it is not the cause.
        let in_background = means.clone();
        let (turn, resource, fetched) = aside::run(load, move || {
            let turn = in_background.workshop.turn(&resource, &fetched.bytes);
            (turn, resource, fetched)
        })
        .await;
        let mark = means.marks.begin(&digest, &resource);
        let in_background = means.clone();
        let prepared = aside::run(load, move || -> Result<Good, LoadFailure> {
            let means = in_background;
            let good = means
                .workshop
                .prepare(&resource, &fetched.bytes, fetched.image_digest, turn)?;
            if let Err(error) = means.kept.store(&resource.id, &good.digest, &fetched.bytes) {
                warn!(plugin = %resource.id, "can't store the component, so that the next start must fetch it: {error}");
            }
            Ok(good)
        });
        let prepared = prepared.await;
        if let Some(mark) = mark {
            mark.ended();
        }
        prepared.map_err(|failure| {
            if failure.may_be_of_load() || failure.is_known {
                failure
            } else {
                failure.of(&digest)
            }
        })
    }
}

/// Returns the result of `attempt`. A panic is converted to a failure: without an outcome, the plugin would count as being loaded
/// forever, and nothing would be retried.
async fn caught(
    id: &PluginId,
    attempt: impl Future<Output = (Option<Good>, Option<LoadFailure>)>,
) -> (Option<Good>, Option<LoadFailure>) {
    let attempt = AssertUnwindSafe(attempt).catch_unwind().await;
    attempt.unwrap_or_else(|_| {
        let message = format!(
            "{id} can't be loaded: the operator panicked while it tried, as its log says, which is a bug of the operator"
        );
        (None, Some(LoadFailure::new("Unfit", message)))
    })
}

/// Returns whether the version that a status names as active is one that its resource requests, as far as that is known. The
/// digest of a status is trusted only if the resource does not name another one.
fn is_asked_for(resource: &Resource, last: &LastGood) -> bool {
    let asked = resource.spec.digest.as_ref();
    last.generation != resource.generation || asked.is_none_or(|asked| *asked == last.digest)
}

/// Loads the stored bytes with this digest; `None` if there are none.
async fn kept(means: &Arc<Means>, owner: &PluginId, digest: &str) -> Option<Vec<u8>> {
    let (means, owner, digest) = (means.clone(), owner.clone(), digest.to_owned());
    aside::run(Load::Light, move || means.kept.load(&owner, &digest)).await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dask_operator_api::DaskPlugin;
    use dask_operator_evaluator::AllowedKinds;
    use dask_operator_runtime::{Compiling, Engine, EngineConfig, compile_turn};
    use dask_operator_sources::digest;
    use kube::client::Body;
    use rstest::rstest;
    use serde_json::json;
    use tokio::sync::mpsc;

    use super::super::known::Known;
    use super::super::rights::TenantRights;
    use super::*;
    use crate::client::resource::Kinds;

    /// A resource that requests a component with this digest, or with any.
    fn resource(digest: Option<&str>) -> Resource {
        let object = json!({"metadata": {"name": "p", "namespace": "n", "uid": "u", "generation": 2},
                            "spec": {"source": {}, "digest": digest}});
        let object: DaskPlugin = serde_json::from_value(object).unwrap_or_else(|error| panic!("{error}"));
        Resource::of_namespace(object)
    }

    /// A user who can write a status must not be able to activate other bytes than the resource names.
    #[rstest]
    #[case::any(None, 2, true)]
    #[case::this(Some("sha256:1"), 2, true)]
    #[case::another_one(Some("sha256:2"), 2, false)]
    #[case::of_an_earlier_state(Some("sha256:2"), 1, true)]
    fn a_status_is_believed_where_its_resource_does_not_say_otherwise(
        #[case] asked: Option<&str>,
        #[case] generation: i64,
        #[case] expected: bool,
    ) {
        let last = LastGood {
            generation,
            digest: "sha256:1".to_owned(),
            ..LastGood::default()
        };
        let mut resource = resource(asked);
        assert_eq!(is_asked_for(&resource, &last), expected);
        // The digest of the current spec is known only from a status about it.
        let is_known = expected && generation == resource.generation;
        resource.status.last_good = Some(last);
        let attempt = Known::new(resource).begin();
        let known = attempt.and_then(|attempt| attempt.known_digest());
        assert_eq!(known.is_some(), is_known);
    }

    /// A component that only waits is not the cause if the operator ends meanwhile.
    #[tokio::test]
    async fn who_waits_for_a_turn_to_compile_is_not_marked() {
        let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
        let engine = Engine::new(EngineConfig {
            cache: Some(folder.path().join("cache").into()),
            ..EngineConfig::default()
        });
        let engine = engine.unwrap_or_else(|error| panic!("{error}"));
        let others = compile_turn(&engine, b"other bytes", &Compiling::of_tenant("m"));
        assert!(others.is_some());
        let tried = folder.path().join("tried");
        let (service, _) = tower_test::mock::pair::<http::Request<Body>, http::Response<Body>>();
        let means = Arc::new(Means {
            client: Client::new(service, "default"),
            sources: Sources::default(),
            kept: Kept::new(None),
            workshop: Workshop {
                engine,
                watched: Kinds::new([]),
                allowed_kinds: AllowedKinds::default(),
                rights: TenantRights::default(),
                news: mpsc::unbounded_channel().0,
            },
            marks: Marks::open(Some(tried.clone())),
            trials: Trials::default(),
        });
        let attempt = Known::new(resource(None))
            .begin()
            .unwrap_or_else(|| panic!("no attempt starts"));
        let fetched = Fetched {
            bytes: b"no component".to_vec(),
            digest: digest(b"no component"),
            image_digest: None,
        };
        let prepared = attempt.prepare(&means, resource(None), fetched);
        let mut prepared = std::pin::pin!(prepared);
        let soon = Duration::from_millis(50);
        assert!(tokio::time::timeout(soon, &mut prepared).await.is_err());
        assert!(!tried.exists(), "the trial has not begun");
        drop(others);
        assert!(prepared.await.is_err());
        assert!(tried.exists(), "the trial has begun");
    }

    async fn panics() -> (Option<Good>, Option<LoadFailure>) {
        panic!("in the middle")
    }

    #[tokio::test]
    async fn a_panic_is_a_failure() {
        let id = PluginId {
            namespace: Some("n".into()),
            name: "p".into(),
        };
        let (good, failure) = caught(&id, panics()).await;
        assert!(good.is_none());
        assert_eq!(failure.map(|failure| failure.reason), Some("Unfit"));
    }
}
