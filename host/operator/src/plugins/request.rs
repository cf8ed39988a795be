//! Request to load the spec of a plugin resource, and the outcome of the attempt.

use dask_operator_api::LastGood;

use crate::key::PluginId;
use crate::plugins::error::LoadFailure;
use crate::plugins::loaded::LoadedPlugin;
use crate::plugins::resource::Resource;

/// Request to load a plugin.
pub(super) struct LoadRequest {
    pub(super) resource: Resource,
    /// Active version; `None` if there is none.
    pub(super) active: Option<LoadedPlugin>,
    /// Digest that was rolled back and must not be activated again.
    pub(super) rolled_back: Option<String>,
    /// Failure of a component that could not be used repeatedly, and is not tried again for now.
    pub(super) given_up: Option<LoadFailure>,
    /// Reason why the plugin must not be loaded at all.
    pub(super) refused: Option<LoadFailure>,
    /// True if a suspect of a tenant may be tried now, alone.
    pub(super) alone: bool,
    /// True if the source is fetched although the spec is unchanged.
    pub(super) recheck_source: bool,
}

/// Outcome of an attempt to load a plugin.
pub(super) struct LoadOutcome {
    pub(super) id: PluginId,
    pub(super) uid: String,
    pub(super) generation: i64,
    /// Version that was active at the start of the attempt ([`LoadedPlugin::identity`]).
    pub(super) before: Option<(String, i64)>,
    /// Version to activate; `None` if the active one stays.
    pub(super) loaded: Option<LoadedPlugin>,
    /// Reason why the spec of the resource is not active; `None` if it is.
    pub(super) failure: Option<LoadFailure>,
}

impl LoadRequest {
    /// Returns whether the component with this digest could not be used repeatedly.
    pub(super) fn is_given_up(&self, digest: &str) -> bool {
        let given_up = self.given_up.as_ref();
        given_up.is_some_and(|failure| failure.tried.as_deref() == Some(digest))
    }

    /// Returns whether the active version has this digest and the same spec, so that nothing has to be loaded.
    pub(super) fn is_active(&self, digest: &str) -> bool {
        self.active
            .as_ref()
            .is_some_and(|active| active.digest == digest && active.requested_by.spec == self.resource.spec)
    }

    /// Returns the digest of the source's bytes when they were last fetched; `None` if it is not known or was rolled back.
    pub(super) fn last_digest(&self) -> Option<String> {
        let resource = &self.resource;
        if let Some(active) = &self.active {
            let (before, now) = (&active.requested_by.spec, &resource.spec);
            let same = before.source == now.source && before.digest == now.digest;
            let may_be = self.rolled_back.as_ref() != Some(&active.digest);
            return (same && may_be).then(|| active.digest.clone());
        }
        // After a restart.
        let last = resource.status.last_good.as_ref()?;
        let is_current = last.generation == resource.generation && last.rolled_back.is_none();
        (is_current && requests_version(resource, last)).then(|| last.digest.clone())
    }

    /// Returns the version that was active before a restart, and the resource that requested it.
    pub(super) fn version_before_restart(&self) -> Option<(Resource, String)> {
        let last = self.resource.status.last_good.as_ref()?;
        if !requests_version(&self.resource, last) {
            return None;
        }
        let mut resource = self.resource.clone();
        resource.generation = last.generation;
        resource.spec.settings = last.settings.clone();
        Some((resource, last.digest.clone()))
    }
}

/// Returns whether a resource requests the version that its status names as active, as far as that is known. The digest of a
/// status is trusted only if the resource does not name another one.
fn requests_version(resource: &Resource, last: &LastGood) -> bool {
    let digest = resource.spec.digest.as_ref();
    last.generation != resource.generation || digest.is_none_or(|digest| *digest == last.digest)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::plugins::state::PluginState;
    use crate::plugins::testing;

    /// A resource that requests a component with this digest, or with any.
    fn resource(digest: Option<&str>) -> Resource {
        let object = json!({"metadata": {"name": "p", "namespace": "n", "uid": "u", "generation": 2},
                            "spec": {"source": {}, "digest": digest}});
        testing::of_namespace(object)
    }

    /// A user who can write a status must not be able to activate other bytes than the resource names.
    #[rstest]
    #[case::any(None, 2, true)]
    #[case::this(Some("sha256:1"), 2, true)]
    #[case::another_one(Some("sha256:2"), 2, false)]
    #[case::of_an_earlier_state(Some("sha256:2"), 1, true)]
    fn a_status_is_believed_where_its_resource_does_not_say_otherwise(
        #[case] requested: Option<&str>,
        #[case] generation: i64,
        #[case] expected: bool,
    ) {
        let last = LastGood {
            generation,
            digest: "sha256:1".to_owned(),
            ..LastGood::default()
        };
        let mut resource = resource(requested);
        assert_eq!(requests_version(&resource, &last), expected);
        // The digest of the current spec is known only from a status about it.
        let is_known = expected && generation == resource.generation;
        resource.status.last_good = Some(last);
        let request = PluginState::new(resource).begin();
        let digest = request.and_then(|request| request.last_digest());
        assert_eq!(digest.is_some(), is_known);
    }
}
