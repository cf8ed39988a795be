//! Removal of the marks that the previous operator (kopf) left on objects: a finalizer that no other client would
//! remove, so that deletions would hang forever, and annotations with whole copies of their objects.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use dask_operator_core::api_error::RetryPolicy;
use dask_operator_core::backoff::Backoff;
use dask_operator_core::names::{KOPF_ANNOTATIONS, KOPF_FINALIZER};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::cache::Stores;
use crate::client::object::Object;
use crate::client::resource::ResourceType;
use crate::client::writer::Writer;

/// An object with marks of the previous operator, and its resource type.
pub(crate) type KopfLeftover = (ResourceType, Arc<Object>);

/// Returns the merge patch of `metadata` that removes the marks.
fn without_marks(object: &Value) -> Value {
    let metadata = &object["metadata"];
    let mut patch = json!({});
    let names = metadata["annotations"]
        .as_object()
        .into_iter()
        .flat_map(Map::keys);
    let gone: Map<_, _> = names
        .filter(|name| name.starts_with(KOPF_ANNOTATIONS))
        .map(|name| (name.clone(), Value::Null))
        .collect();
    if !gone.is_empty() {
        patch["annotations"] = gone.into();
    }
    if let Some(finalizers) = metadata["finalizers"].as_array()
        && finalizers.iter().any(|finalizer| finalizer == KOPF_FINALIZER)
    {
        patch["finalizers"] = finalizers
            .iter()
            .filter(|finalizer| *finalizer != KOPF_FINALIZER)
            .cloned()
            .collect();
    }
    patch
}

/// Removes the marks of all received objects, many at once, until the channel is closed and all work is done.
///
/// An object that is received again while it is processed is processed again afterwards, in the version that was
/// received last: a failed attempt after a conflict relies on that.
pub(crate) async fn clean(mut marked: mpsc::UnboundedReceiver<KopfLeftover>, stores: Stores, writer: Writer) {
    let mut under_way: HashMap<Box<str>, Option<KopfLeftover>> = HashMap::new();
    let mut running = FuturesUnordered::new();
    loop {
        let next = tokio::select! {
            Some(next) = marked.recv() => next,
            Some(uid) = running.next() => match under_way.remove(&uid) {
                Some(Some(next)) => next,
                _ => continue,
            },
            else => return,
        };
        match under_way.entry(next.1.uid.clone()) {
            Entry::Occupied(mut waits) => {
                waits.insert(Some(next));
            }
            Entry::Vacant(free) => {
                free.insert(None);
                running.push(clean_one(next, &stores, &writer));
            }
        }
    }
}

/// Removes the marks of an object, and retries transient errors a few times. Returns the uid.
async fn clean_one((kind, object): KopfLeftover, stores: &Stores, writer: &Writer) -> Box<str> {
    const ATTEMPTS: u32 = 6;
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(16));
    for attempt in 0..ATTEMPTS {
        match writer
            .merge_metadata(&kind, &object, without_marks(&object.value()))
            .await
        {
            Ok(cleaned) => {
                info!(
                    kind = kind.resource.kind, namespace = %object.namespace, name = %object.name,
                    "removed the marks of the previous operator"
                );
                // After that, an object whose deletion waited for the finalizer is gone.
                if !cleaned.terminating
                    && let Some(store) = stores.of(&kind.resource)
                {
                    store.record_write(cleaned);
                }
                break;
            }
            Err(error) => match error.retry() {
                RetryPolicy::Soon => break,
                RetryPolicy::After(wait) => tokio::time::sleep(wait).await,
                RetryPolicy::Passing | RetryPolicy::BackOff | RetryPolicy::OnChange
                    if attempt + 1 < ATTEMPTS =>
                {
                    tokio::time::sleep(backoff.failed()).await;
                }
                RetryPolicy::Passing | RetryPolicy::BackOff | RetryPolicy::OnChange => warn!(
                    kind = kind.resource.kind, namespace = %object.namespace, name = %object.name,
                    "the marks of the previous operator can't be removed: {error}"
                ),
            },
        }
    }
    object.uid.clone()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::both(
        json!({
            "finalizers": ["a", "kopf.zalando.org/KopfFinalizerMarker"],
            "annotations": {"kopf.zalando.org/x": "1", "mine": "2"},
        }),
        json!({"finalizers": ["a"], "annotations": {"kopf.zalando.org/x": null}})
    )]
    #[case::last_finalizer(
        json!({"finalizers": ["kopf.zalando.org/KopfFinalizerMarker"]}),
        json!({"finalizers": []})
    )]
    #[case::nothing(json!({"finalizers": ["a"], "annotations": {"mine": "2"}}), json!({}))]
    fn only_marks_of_kopf_are_removed(#[case] metadata: Value, #[case] patch: Value) {
        assert_eq!(without_marks(&json!({"metadata": metadata})), patch);
    }
}
