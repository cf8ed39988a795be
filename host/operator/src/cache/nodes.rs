//! Watch of nodes with taints, which announce that a node is about to go, before its pods are lost.
//!
//! Only nodes with taints are stored, and of these only the taints. An operator without the permission to watch nodes
//! (installed for some namespaces only) works without them.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use dask_operator_core::text::innermost;
use k8s_openapi::api::core::v1::Taint;
use kube::api::{Api, ApiResource, GroupVersionKind, NotUsed};
use kube::runtime::watcher::{self, Config};
use kube::{Client, ResourceExt};
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use serde::Deserialize;
use serde_json::json;

use crate::client::watch::{self, Handler, Message};

#[derive(Clone, Debug, Default, Deserialize)]
struct Spec {
    #[serde(default)]
    taints: Vec<Taint>,
}

type Node = kube::api::Object<Spec, NotUsed>;

/// JSON of the nodes that have taints, by name.
#[derive(Debug, Default)]
pub(crate) struct Nodes(RwLock<HashMap<Box<str>, Box<str>>>);

impl Nodes {
    fn read(&self) -> RwLockReadGuard<'_, HashMap<Box<str>, Box<str>>> {
        self.0.read()
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<Box<str>, Box<str>>> {
        self.0.write()
    }

    /// Returns the JSON of a node, with `metadata.name` and `spec.taints`; `None` if the node has no taints.
    #[must_use]
    pub(crate) fn tainted(&self, name: &str) -> Option<Box<str>> {
        self.read().get(name).cloned()
    }

    /// Stores the taints of a node. Returns whether they have changed.
    fn put(&self, name: &str, taints: &[Taint]) -> bool {
        if taints.is_empty() {
            return self.write().remove(name).is_some();
        }
        let node = json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {"taints": taints},
        });
        let node: Box<str> = node.to_string().into();
        let before = self.write().insert(name.into(), node.clone());
        before.is_none_or(|before| before != node)
    }

    /// Removes all nodes except for `seen`. Returns the names of the removed ones.
    fn retain(&self, seen: &BTreeSet<String>) -> Vec<Box<str>> {
        let mut nodes = self.write();
        let gone: Vec<_> = nodes
            .keys()
            .filter(|name| !seen.contains(&***name))
            .cloned()
            .collect();
        for name in &gone {
            nodes.remove(name);
        }
        gone
    }

    /// Watches the nodes, and calls `changed` with the name of each node whose taints have changed. Runs until the
    /// process exits.
    pub(crate) async fn watch(&self, client: Client, changed: impl Fn(&str) + Send) {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Node"));
        let api: Api<Node> = Api::all_with(client, &resource);
        let mut watch = NodeWatch {
            nodes: self,
            changed,
            listed: BTreeSet::new(),
        };
        watch::watch(api, Config::default(), &mut watch).await;
    }
}

/// Stores the taints of the nodes that a watch shows.
struct NodeWatch<'a, F> {
    nodes: &'a Nodes,
    /// Called with the name of each node whose taints have changed.
    changed: F,
    /// Names of the nodes in the current list.
    listed: BTreeSet<String>,
}

impl<F: Fn(&str)> NodeWatch<'_, F> {
    fn put(&self, name: &str, taints: &[Taint]) {
        if self.nodes.put(name, taints) {
            (self.changed)(name);
        }
    }
}

impl<F: Fn(&str) + Send> Handler<Node> for NodeWatch<'_, F> {
    const LOG_INTERVAL: Duration = Duration::from_secs(3600);
    const LOG_AFTER_LIST: bool = false;

    fn list_started(&mut self) {
        self.listed.clear();
    }

    async fn listed(&mut self, node: Node) {
        let name = node.name_any();
        self.put(&name, &node.spec.taints);
        self.listed.insert(name);
    }

    async fn list_finished(&mut self) {
        let listed = std::mem::take(&mut self.listed);
        for name in self.nodes.retain(&listed) {
            (self.changed)(&name);
        }
    }

    async fn changed(&mut self, node: Node) {
        self.put(&node.name_any(), &node.spec.taints);
    }

    async fn deleted(&mut self, node: Node) {
        self.put(&node.name_any(), &[]);
    }

    async fn failed(&mut self, error: &watcher::Error) -> Message {
        Message::warning(format!(
            "nodes can't be watched, and their taints are ignored: {}",
            innermost(error)
        ))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    impl Nodes {
        /// Adds a taint to a node.
        pub(crate) fn taint(&self, name: &str, key: &str) {
            self.put(name, &[taint(key)]);
        }
    }

    fn taint(key: &str) -> Taint {
        Taint {
            effect: "NoSchedule".into(),
            key: key.into(),
            ..Taint::default()
        }
    }

    #[test]
    fn only_changes_of_taints_are_changes() {
        let nodes = Nodes::default();
        assert!(!nodes.put("a", &[]), "a node without taints is not a change");
        assert!(nodes.put("a", &[taint("spot")]) && !nodes.put("a", &[taint("spot")]));
        assert!(nodes.put("a", &[taint("other")]));
        let json = nodes.tainted("a").unwrap_or_default();
        assert!(
            json.contains(r#""key":"other""#) && json.contains(r#""name":"a""#),
            "{json}"
        );
        assert!(nodes.put("b", &[taint("spot")]));
        assert_eq!(nodes.retain(&["a".to_owned()].into()), ["b".into()]);
        assert!(nodes.put("a", &[]) && nodes.tainted("a").is_none());
    }
}
