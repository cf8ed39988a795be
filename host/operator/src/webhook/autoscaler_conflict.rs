//! Detection of autoscalers that scale the same worker group. Only the oldest of them is active, as the conditions of the others
//! report; the webhook informs their authors at creation.
//!
//! Reads only the informer cache, which all replicas have, not only the leader. Two autoscalers that are created at the same
//! moment may not be detected.

use dask_operator_core::parent::DaskKind;
use dask_operator_evaluator::admission::AdmissionFinding;
use dask_operator_evaluator::autoscaler_conflict::{mistake, scaled_group};
use serde_json::Value;

use crate::cache::Stores;
use crate::client::object::Object;

/// Returns the mistake that another `DaskAutoscaler` scales the same worker group. Returns `None` if there is no other, or if
/// `old` already named the same worker group.
pub(crate) fn find(stores: &Stores, object: &Value, old: Option<&Value>) -> Option<AdmissionFinding> {
    let (cluster, group) = scaled_group(object)?;
    if old
        .and_then(scaled_group)
        .is_some_and(|before| before == (cluster, group.clone()))
    {
        return None;
    }
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    let conflicts = |other: &Object| {
        !other.terminating
            && *other.name != *text("name")
            && scaled_group(&other.value()).is_some_and(|(_, scales)| scales == group)
    };
    let others = stores.of_cluster(DaskKind::Autoscaler, text("namespace"), cluster);
    let other = others.iter().find(|other| conflicts(other))?;
    let (field, message) = mistake(object, &other.name, &group);
    Some(AdmissionFinding::new("", field, message))
}

#[cfg(test)]
mod tests {
    use dask_operator_core::names::DASK_API_VERSION;
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::client::object::tests;
    use crate::client::resource::ResourceType;

    fn autoscaler(namespace: &str, name: &str, spec: &Value) -> Value {
        json!({
            "apiVersion": DASK_API_VERSION, "kind": "DaskAutoscaler", "spec": spec,
            "metadata": {"namespace": namespace, "name": name, "uid": name},
        })
    }

    /// Returns stores with the autoscalers `first` of the default group, `second` of another group, and `gone`, which is being
    /// deleted.
    fn stores() -> Stores {
        let stores = Stores::new([]);
        let mut gone = autoscaler("n", "gone", &json!({"cluster": "c", "workerGroup": "third"}));
        gone["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        let all = [
            autoscaler("n", "first", &json!({"cluster": "c"})),
            autoscaler("n", "second", &json!({"cluster": "c", "workerGroup": "gpu"})),
            gone,
        ];
        let store = stores.of(&ResourceType::dask(DaskKind::Autoscaler).resource);
        for object in &all {
            store.map(|store| store.apply_event(tests::object(object)));
        }
        stores
    }

    #[rstest]
    #[case::default("n", "new", json!({"cluster": "c"}), Some(("spec.cluster", "first")))]
    #[case::default_by_name("n", "new", json!({"cluster": "c", "workerGroup": "c-default"}), Some(("spec.workerGroup", "first")))]
    #[case::another_group("n", "new", json!({"cluster": "c", "workerGroup": "gpu"}), Some(("spec.workerGroup", "second")))]
    #[case::free("n", "new", json!({"cluster": "c", "workerGroup": "cpu"}), None)]
    #[case::itself("n", "first", json!({"cluster": "c"}), None)]
    #[case::being_deleted("n", "new", json!({"cluster": "c", "workerGroup": "third"}), None)]
    #[case::another_cluster("n", "new", json!({"cluster": "d"}), None)]
    #[case::another_namespace("m", "new", json!({"cluster": "c"}), None)]
    #[case::none("n", "new", json!({}), None)]
    fn finds_another_autoscaler_of_the_group(
        #[case] namespace: &str,
        #[case] name: &str,
        #[case] spec: Value,
        #[case] expected: Option<(&str, &str)>,
    ) {
        let object = autoscaler(namespace, name, &spec);
        let conflict = find(&stores(), &object, None);
        let found = conflict.as_ref().map(|said| {
            let other = said.message.split_whitespace().nth(1).unwrap_or_default();
            (said.field.as_str(), other)
        });
        assert_eq!(found, expected, "{conflict:?}");
        assert_eq!(
            find(&stores(), &object, Some(&object)),
            None,
            "the mistake existed before"
        );
    }

    #[test]
    fn an_update_to_a_group_that_is_scaled_is_a_mistake() {
        let before = autoscaler("n", "new", &json!({"cluster": "c", "workerGroup": "cpu"}));
        let after = autoscaler("n", "new", &json!({"cluster": "c"}));
        let message = find(&stores(), &after, Some(&before)).map(|said| said.to_string());
        assert_eq!(
            message.as_deref(),
            Some(
                "spec.cluster: DaskAutoscaler first scales the worker group c-default too, and of several only the oldest is active: \
                 change or delete one of them, or name another worker group in spec.workerGroup"
            )
        );
    }
}
