//! How many plugins a namespace may have.

use std::collections::BTreeMap;

use super::PluginId;
use super::failure::{LoadFailure, TOO_MANY};
use super::known::Known;

/// So many of a namespace are loaded, the oldest of them.
pub(super) const MOST: usize = 20;

/// Why a plugin is not loaded: its namespace has enough that are older.
pub(super) fn refuses(known: &BTreeMap<PluginId, Known>, id: &PluginId) -> Option<LoadFailure> {
    let namespace = id.namespace.as_ref()?;
    let age = |known: &Known| (known.resource.created.clone(), known.resource.id.name.clone());
    let own = age(known.get(id)?);
    let first = PluginId {
        namespace: id.namespace.clone(),
        name: String::new(),
    };
    let of_namespace = known
        .range(first..)
        .take_while(|(other, _)| other.namespace == id.namespace);
    let older = of_namespace.filter(|(_, other)| age(other) < own).count();
    (older >= MOST).then(|| {
        LoadFailure::new(
            TOO_MANY,
            format!(
                "the namespace {namespace} has {older} older ones, and no more than {MOST} of a namespace are loaded: \
                 delete some that are not needed"
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    use dask_operator_api::DaskPlugin;
    use serde_json::json;

    use super::super::resource::Resource;
    use super::*;

    fn known(namespace: &str, name: &str, minute: usize) -> (PluginId, Known) {
        let object = json!({
            "metadata": {"name": name, "namespace": namespace, "uid": name,
                         "creationTimestamp": format!("2026-01-01T00:{minute:02}:00Z")},
            "spec": {"source": {}},
        });
        let object: DaskPlugin = serde_json::from_value(object).unwrap_or_else(|error| panic!("{error}"));
        let resource = Resource::of_namespace(object);
        (resource.id.clone(), Known::new(resource))
    }

    #[test]
    fn the_oldest_of_a_namespace_are_loaded() {
        // The newest has the first name.
        let mut all: BTreeMap<_, _> = (0..MOST)
            .map(|number| known("a", &format!("z{number}"), number))
            .collect();
        let (newest, of_newest) = known("a", "a", MOST);
        let (neighbour, of_neighbour) = known("b", "a", MOST);
        all.insert(newest.clone(), of_newest);
        all.insert(neighbour.clone(), of_neighbour);
        let refused: Vec<_> = all.keys().filter(|id| refuses(&all, id).is_some()).collect();
        assert_eq!(refused, [&newest]);
        all.pop_last();
        all.retain(|id, _| id.name != "z0");
        assert!(refuses(&all, &newest).is_none());
        assert!(refuses(&all, &neighbour).is_none(), "it is gone");
    }
}
