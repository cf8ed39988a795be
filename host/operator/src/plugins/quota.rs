//! Limit on the number of plugins of a namespace.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::key::PluginId;
use crate::plugins::error::{LoadFailure, LoadReason};
use crate::plugins::rights::MAX_PLUGINS;
use crate::plugins::state::PluginState;

/// Returns why a plugin is not loaded: its namespace has enough older ones. `None` if it may be loaded.
pub(super) fn refuses(states: &BTreeMap<PluginId, PluginState>, id: &PluginId) -> Option<LoadFailure> {
    let namespace = id.namespace.as_ref()?;
    let own = age(states.get(id)?);
    let older = of_namespace(states, namespace).filter(|other| age(other) < own);
    let older = older.count();
    (older >= MAX_PLUGINS).then(|| {
        LoadFailure::new(
            LoadReason::TooManyPlugins,
            format!(
                "the namespace {namespace} has {older} older ones, and no more than {MAX_PLUGINS} of a namespace are loaded: \
                 delete some that are not needed"
            ),
        )
    })
}

/// Returns the plugins of a namespace that were beyond the limit and are not any more.
pub(super) fn no_longer_refused(states: &BTreeMap<PluginId, PluginState>, namespace: &str) -> Vec<PluginId> {
    let mut all: Vec<_> = of_namespace(states, namespace).collect();
    all.sort_by(|one, other| age(one).cmp(&age(other)));
    let was_refused = |state: &&PluginState| {
        let failure = state.failure();
        failure.is_some_and(|failure| failure.reason == LoadReason::TooManyPlugins)
    };
    let oldest = all.into_iter().take(MAX_PLUGINS).filter(was_refused);
    oldest.map(|state| state.resource.id.clone()).collect()
}

/// Returns all plugins of a namespace.
pub(super) fn of_namespace<'a>(
    states: &'a BTreeMap<PluginId, PluginState>,
    namespace: &'a str,
) -> impl Iterator<Item = &'a PluginState> {
    let first = PluginId {
        namespace: Some(namespace.to_owned()),
        name: String::new(),
    };
    states
        .range(first..)
        .map(|(_, state)| state)
        .take_while(move |state| state.resource.id.namespace.as_deref() == Some(namespace))
}

/// Returns the key by which plugins of a namespace are ordered, oldest first.
fn age(state: &PluginState) -> (&Option<Time>, &str) {
    (&state.resource.created, &state.resource.id.name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plugins::request::LoadOutcome;
    use crate::plugins::testing;

    fn plugin(namespace: &str, name: &str, minute: usize) -> (PluginId, PluginState) {
        let object = json!({
            "metadata": {"name": name, "namespace": namespace, "uid": name,
                         "creationTimestamp": format!("2026-01-01T00:{minute:02}:00Z")},
            "spec": {"source": {}},
        });
        let resource = testing::of_namespace(object);
        (resource.id.clone(), PluginState::new(resource))
    }

    #[test]
    fn loads_the_oldest_plugins_of_a_namespace() {
        // The newest has the first name.
        let mut all: BTreeMap<_, _> = (0..MAX_PLUGINS)
            .map(|number| plugin("a", &format!("z{number}"), number))
            .collect();
        let (newest, of_newest) = plugin("a", "a", MAX_PLUGINS);
        let (neighbour, of_neighbour) = plugin("b", "a", MAX_PLUGINS);
        all.insert(newest.clone(), of_newest);
        all.insert(neighbour.clone(), of_neighbour);
        let refused: Vec<_> = all.keys().filter(|id| refuses(&all, id).is_some()).collect();
        assert_eq!(refused, [&newest]);
        // The failure is recorded; after a deletion, the plugin is within the limit.
        for (of, refused) in [(&newest, true), (&neighbour, false)] {
            let failure = refuses(&all, of);
            assert_eq!(failure.is_some(), refused);
            let state = all.get_mut(of).unwrap_or_else(|| panic!("{of} is known"));
            let (id, uid) = (of.clone(), state.resource.uid.clone());
            let generation = state.resource.generation;
            state.load_finished(LoadOutcome {
                id,
                uid,
                generation,
                before: None,
                loaded: None,
                failure,
            });
        }
        assert!(no_longer_refused(&all, "a").is_empty() && no_longer_refused(&all, "b").is_empty());
        all.pop_last();
        all.retain(|id, _| id.name != "z0");
        assert!(refuses(&all, &newest).is_none());
        assert_eq!(no_longer_refused(&all, "a"), std::slice::from_ref(&newest));
        assert!(refuses(&all, &neighbour).is_none(), "it was deleted");
    }
}
