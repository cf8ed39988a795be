//! Admission of requests to the `scale` subresource, such as `kubectl scale`. The API server sends a `Scale`, and the webhook
//! decides about the resource as it would be afterwards, as if a user had updated the resource itself.
//!
//! The resource is read from the informer cache. It must not be older than the version that the API server scales; the webhook
//! waits for that version ([`is_behind`]).

use std::mem::swap;
use std::sync::Arc;

use dask_operator_core::json::tree_bytes;
use dask_operator_core::parent::DaskKind;
use dask_operator_runtime::contract::Operation;
use serde_json::{Value, json};

use super::input::{AdmissionInput, Step, Target};
use crate::cache::Stores;
use crate::client::object::Object;
use crate::key::ParentKey;

/// JSON pointer to the object with the number of workers.
const WORKER: &str = "/spec/worker";

/// Field with the number of workers.
const REPLICAS: &str = "replicas";

/// Returns the scalable kind with this plural, or `None` if there is none.
#[must_use]
pub(crate) fn kind(plural: &str) -> Option<DaskKind> {
    [DaskKind::Cluster, DaskKind::WorkerGroup]
        .into_iter()
        .find(|kind| kind.plural() == plural)
}

/// Returns the relevant part of a `Scale`: name, namespace, UID and previous version of the resource (from `old`), and the
/// requested number of workers.
#[must_use]
pub(crate) fn reduced(scale: &Value, old: Option<&Value>, name: &str) -> Value {
    let before = &old.unwrap_or(scale)["metadata"];
    let namespace = scale["metadata"]["namespace"].as_str();
    let mut reduced = json!({
        "metadata": {"name": name, "uid": before["uid"].as_str(), "resourceVersion": before["resourceVersion"].as_str()},
        // The API server leaves out a zero.
        REPLICAS: scale["spec"][REPLICAS].as_u64().unwrap_or_default(),
    });
    if let Some(namespace) = namespace {
        reduced["metadata"]["namespace"] = namespace.into();
    }
    reduced
}

/// Returns whether the informer cache lacks the resource or has an older version than the API server. `scale` must come from
/// [`reduced`].
#[must_use]
pub(crate) fn is_behind(stores: &Stores, kind: DaskKind, scale: &Value) -> bool {
    let wanted = version(text(scale, "resourceVersion"));
    stored(stores, kind, scale).is_none_or(|object| {
        let known = version(&object.resource_version);
        // Versions that are not numbers can't be compared, and count as current.
        known.zip(wanted).is_some_and(|(known, wanted)| known < wanted)
    })
}

/// Returns the bytes of the text that [`bytes()`] and [`update`] parse, or 0 if the resource is not in the informer cache.
#[must_use]
pub(crate) fn text_bytes(stores: &Stores, kind: DaskKind, scale: &Value) -> usize {
    stored(stores, kind, scale).map_or(0, |object| object.json.len())
}

/// Returns the bytes of memory that [`update`] takes, or 0 if the resource is not in the informer cache.
#[must_use]
pub(crate) fn bytes(stores: &Stores, kind: DaskKind, scale: &Value) -> usize {
    let bytes = stored(stores, kind, scale).map(|object| tree_bytes(&*object.json));
    // The old and the new version.
    2 * bytes.unwrap_or_default()
}

fn version(text: &str) -> Option<u64> {
    text.parse().ok()
}

fn text<'a>(scale: &'a Value, field: &str) -> &'a str {
    scale["metadata"][field].as_str().unwrap_or_default()
}

/// Returns the scaled resource from the informer cache, or `None` if it is not there.
fn stored(stores: &Stores, kind: DaskKind, scale: &Value) -> Option<Arc<Object>> {
    let key = ParentKey::new(kind, text(scale, "namespace"), text(scale, "name"));
    let uid = text(scale, "uid");
    stores.parent(&key).filter(|object| *object.uid == *uid)
}

/// A scale request as an update of the resource.
#[derive(Debug)]
pub(crate) struct Scaled {
    /// The equivalent update of the resource.
    pub(crate) input: AdmissionInput,
    /// True if the update reduces the number of workers.
    pub(crate) is_fewer: bool,
}

impl Scaled {
    /// Returns the reverse update. Refusals of the reverse update are not caused by the smaller number of workers.
    #[must_use]
    pub(crate) fn reversed(mut self) -> AdmissionInput {
        if let Some(old) = &mut self.input.old {
            swap(old, &mut self.input.object);
        }
        self.input
    }
}

/// Converts a request about a `Scale` into the equivalent update of the resource.
///
/// # Errors
///
/// Returns a message if the informer cache does not have the current version of the resource, or if the resource has no
/// `spec.worker`.
pub(crate) fn update(stores: &Stores, kind: DaskKind, request: &AdmissionInput) -> Result<Scaled, String> {
    let scale = &request.object;
    let name = || format!("{} {}", kind.kind(), text(scale, "name"));
    if is_behind(stores, kind, scale) {
        return Err(format!(
            "{} was made or changed a moment ago, and the operator has not seen it yet: try again",
            name()
        ));
    }
    let old = stored(stores, kind, scale).map(|object| object.value());
    let old = old.unwrap_or_default();
    let mut object = old.clone();
    let Some(worker) = object.pointer_mut(WORKER).and_then(Value::as_object_mut) else {
        return Err(format!("{} has no spec.worker", name()));
    };
    let before = worker.insert(REPLICAS.to_owned(), scale[REPLICAS].clone());
    let before = before.and_then(|before| before.as_u64()).unwrap_or_default();
    let is_fewer = scale[REPLICAS].as_u64().is_some_and(|after| after < before);
    let input = AdmissionInput {
        step: Step::Validate,
        target: Target::Dask(kind),
        operation: Operation::Update,
        object,
        old: Some(old),
        user: request.user.clone(),
        user_info: request.user_info.clone(),
        dry_run: request.dry_run,
    };
    Ok(Scaled { input, is_fewer })
}

#[cfg(test)]
pub(super) mod tests {
    use dask_operator_core::names::DASK_API_VERSION;
    use rstest::rstest;

    use super::*;
    use crate::client::object::tests;
    use crate::client::resource::ResourceType;

    /// Returns stores with the worker group `g` in `n`, at version 7, with this number of workers.
    pub(in crate::webhook) fn stores(workers: u32) -> Stores {
        stores_with(workers, 0)
    }

    /// Returns the same as [`stores`], with a worker group that has an annotation of this size.
    pub(in crate::webhook) fn stores_with(workers: u32, padding: usize) -> Stores {
        let stores = Stores::new([]);
        let group = json!({
            "apiVersion": DASK_API_VERSION, "kind": "DaskWorkerGroup", "spec": {"worker": {"replicas": workers, "spec": {}}},
            "metadata": {"namespace": "n", "name": "g", "uid": "u", "resourceVersion": "7",
                "annotations": {"padding": "x".repeat(padding)}},
        });
        let store = stores.of(&ResourceType::dask(DaskKind::WorkerGroup).resource);
        store.map(|store| store.apply_event(tests::object(&group)));
        stores
    }

    /// Returns the input of a request that scales a worker group.
    fn input(name: &str, uid: &str, version: &str, replicas: u32) -> AdmissionInput {
        let scale = json!({"metadata": {"namespace": "n", "name": name, "uid": uid, "resourceVersion": version},
            "spec": {"replicas": replicas}});
        AdmissionInput {
            step: Step::Validate,
            target: Target::Scale(DaskKind::WorkerGroup),
            operation: Operation::Update,
            object: reduced(&scale, Some(&scale), name),
            old: None,
            user: "me".into(),
            user_info: r#"{"username": "me"}"#.into(),
            dry_run: false,
        }
    }

    #[rstest]
    #[case::more(5, false)]
    #[case::as_many(3, false)]
    #[case::fewer(2, true)]
    #[case::none(0, true)]
    fn a_scale_request_becomes_an_update(#[case] replicas: u32, #[case] is_fewer: bool) {
        let scaled = update(&stores(3), DaskKind::WorkerGroup, &input("g", "u", "7", replicas));
        let scaled = scaled.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(scaled.is_fewer, is_fewer);
        let workers = |object: &Value| object["spec"]["worker"]["replicas"].as_u64();
        assert_eq!(workers(&scaled.input.object), Some(replicas.into()));
        assert_eq!(scaled.input.old.as_ref().and_then(workers), Some(3));
        let reversed = scaled.reversed();
        assert_eq!(workers(&reversed.object), Some(3));
        assert_eq!(reversed.old.as_ref().and_then(workers), Some(replicas.into()));
    }

    #[test]
    fn counts_the_memory_of_the_resource_twice() {
        let request = |name| input(name, "u", "7", 5).object;
        let kind = DaskKind::WorkerGroup;
        assert!(bytes(&stores(3), kind, &request("g")) > 2 * 4 * 640);
        assert_eq!(bytes(&stores(3), kind, &request("d")), 0);
    }

    #[rstest]
    #[case::known("g", "u", "7", true)]
    #[case::newer_than_asked("g", "u", "6", true)]
    #[case::older_than_asked("g", "u", "8", false)]
    #[case::versions_that_are_not_numbers("g", "u", "x", true)]
    #[case::another_one("g", "v", "7", false)]
    #[case::unknown("d", "u", "7", false)]
    fn requires_the_version_of_the_api_server(
        #[case] name: &str,
        #[case] uid: &str,
        #[case] version: &str,
        #[case] is_known: bool,
    ) {
        let request = input(name, uid, version, 5);
        let stores = stores(3);
        assert_eq!(
            is_behind(&stores, DaskKind::WorkerGroup, &request.object),
            !is_known
        );
        let update = update(&stores, DaskKind::WorkerGroup, &request);
        assert_eq!(update.is_ok(), is_known, "{update:?}");
    }
}
