//! Conditions of a start: the plugins of every watch scope are listed, and those of the cluster are loaded.

use std::time::Duration;

use crate::plugins::catalog::Unknown;
use crate::plugins::state::PluginState;
use crate::plugins::watch_scope::WatchScope;

/// Message about a watch scope until its plugins are listed.
const JUST_STARTED: &str = "the operator has just started and does not know yet which plugins are in force; try again in \
                            a few seconds";

/// Longest time for which plugins of the cluster that are being loaded keep a new process from being ready.
pub(super) const UNREADY: Duration = Duration::from_secs(180);

/// Returns why this process is not ready yet although it decides: a plugin of the cluster is being loaded for the first time and
/// blocks its scope. `None` later than [`UNREADY`] after the start, and if this process `leads`. While another process leads,
/// that one can decide, and stays until this one is ready; otherwise no process would answer.
pub(super) fn unready<'a>(
    mut states: impl Iterator<Item = &'a PluginState>,
    since_start: Duration,
    leads: bool,
) -> Option<String> {
    if leads {
        return None;
    }
    let loading = states.find(|state| state.blocks_while_loading())?;
    (since_start < UNREADY).then(|| format!("{} is being loaded", loading.resource.id))
}

/// Watch scopes whose plugins are not known yet.
#[derive(Debug)]
pub(super) struct Startup {
    unlisted: Vec<(WatchScope, Option<String>)>,
    /// True once the operator decides.
    over: bool,
}

impl Startup {
    /// Creates the state of a start, at which no scope is listed.
    pub(super) fn new(scopes: &[WatchScope]) -> Self {
        let unlisted = scopes.iter().map(|scope| (scope.clone(), None));
        Self {
            unlisted: unlisted.collect(),
            over: false,
        }
    }

    /// Marks a scope as listed: its plugins are known, or there can't be any.
    pub(super) fn mark_listed(&mut self, scope: &WatchScope) {
        self.unlisted.retain(|(unlisted, _)| unlisted != scope);
    }

    /// Records why the plugins of a scope can't be listed. Returns whether the reason is new.
    pub(super) fn set_unlisted_reason(&mut self, scope: &WatchScope, why: String) -> bool {
        let unlisted = self.unlisted.iter_mut().find(|(unlisted, _)| unlisted == scope);
        match unlisted {
            Some((_, before)) if before.as_ref() != Some(&why) => {
                *before = Some(why);
                true
            }
            _ => false,
        }
    }

    /// Returns whether all scopes are listed.
    pub(super) fn all_listed(&self) -> bool {
        self.unlisted.is_empty()
    }

    /// Ends the start. From now on the operator decides, whatever happens to the watches.
    pub(super) fn end(&mut self) {
        self.over = true;
    }

    /// Returns whether the start has ended.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// Returns why the plugins of some scopes can't be listed, which a user must resolve. `None` if there is no such scope.
    pub(super) fn unlisted_reason(&self) -> Option<String> {
        let why: Vec<_> = self
            .unlisted
            .iter()
            .filter_map(|(_, why)| why.as_deref())
            .collect();
        (!why.is_empty()).then(|| why.join("; "))
    }

    /// Returns the scopes in which nothing is decided yet: all of them until all are listed and loaded, because only then are the
    /// active plugins known.
    pub(super) fn unknown(&self, scopes: &[WatchScope]) -> Vec<Unknown> {
        if self.over {
            return Vec::new();
        }
        let of_scope = |scope: &WatchScope| {
            let reason = self
                .unlisted
                .iter()
                .find(|(unlisted, _)| unlisted == scope)
                .and_then(|(_, why)| why.clone());
            Unknown {
                namespace: scope.watched().1.map(str::to_owned),
                why: reason.unwrap_or_else(|| JUST_STARTED.to_owned()),
            }
        };
        let mut unknown: Vec<_> = scopes.iter().map(of_scope).collect();
        // Reasons that require an action of a user come first.
        unknown.sort_by_key(|unknown| unknown.why == JUST_STARTED);
        unknown
    }
}

#[cfg(test)]
mod tests {
    use dask_operator_api::PluginMode;
    use serde_json::json;

    use super::*;
    use crate::plugins::testing;

    /// A plugin of the cluster, or of a namespace, that was active.
    fn plugin(namespace: Option<&str>) -> PluginState {
        let object = json!({"metadata": {"name": "p"}, "spec": {"source": {}}, "status": {"digest": "sha256:1", "interfaces": ["policy"]}});
        let mut resource = testing::of_cluster(object);
        resource.id.namespace = namespace.map(str::to_owned);
        PluginState::new(resource)
    }

    /// In an upgrade, the former process decides about resources that are blocked here.
    #[test]
    fn readiness_waits_for_plugins_of_the_cluster() {
        let soon = UNREADY.saturating_sub(Duration::from_secs(1));
        let first = plugin(None).at_start();
        let said = unready([&first].into_iter(), soon, false);
        assert_eq!(said.as_deref(), Some("ClusterDaskPlugin p is being loaded"));
        assert_eq!(
            unready([&first].into_iter(), UNREADY, false),
            None,
            "it may take for ever"
        );
        assert_eq!(
            unready([&first].into_iter(), soon, true),
            None,
            "no other answers"
        );
        let mut monitors = plugin(None).at_start();
        monitors.resource.spec.mode = PluginMode::Monitor;
        for other in [plugin(None), plugin(Some("n")).at_start(), monitors] {
            assert_eq!(unready([&other].into_iter(), soon, false), None);
        }
    }

    fn said(startup: &Startup, scopes: &[WatchScope]) -> Vec<String> {
        let unknown = startup.unknown(scopes);
        unknown.into_iter().map(|unknown| unknown.why).collect()
    }

    #[test]
    fn scopes_are_unknown_until_all_are_listed_and_loaded() {
        let scopes = WatchScope::of(&[]);
        let mut startup = Startup::new(&scopes);
        assert_eq!(said(&startup, &scopes), [JUST_STARTED, JUST_STARTED]);
        startup.mark_listed(&WatchScope::Cluster);
        assert!(!startup.all_listed());
        assert_eq!(
            said(&startup, &scopes).len(),
            2,
            "what is listed may not be loaded yet"
        );
        startup.mark_listed(&WatchScope::AllNamespaces);
        assert!(startup.all_listed() && !startup.is_over());
        startup.end();
        assert!(said(&startup, &scopes).is_empty());
    }

    #[test]
    fn the_reason_is_reported_until_the_scope_is_listed() {
        let scopes = WatchScope::of(&["a".to_owned(), "b".to_owned()]);
        let [a, b] = [&scopes[0], &scopes[1]];
        let mut startup = Startup::new(&scopes);
        assert!(startup.set_unlisted_reason(b, "no right".to_owned()));
        assert!(
            !startup.set_unlisted_reason(b, "no right".to_owned()),
            "that is known"
        );
        assert_eq!(said(&startup, &scopes), ["no right", JUST_STARTED]);
        assert_eq!(startup.unknown(&scopes)[0].namespace.as_deref(), Some("b"));
        assert_eq!(startup.unlisted_reason().as_deref(), Some("no right"));
        startup.mark_listed(a);
        assert!(!startup.all_listed());
        startup.mark_listed(b);
        assert!(startup.all_listed() && startup.unlisted_reason().is_none());
        // A scope that was listed once is not awaited, even if the permission to list it is revoked.
        assert!(!startup.set_unlisted_reason(b, "no right".to_owned()));
    }
}
