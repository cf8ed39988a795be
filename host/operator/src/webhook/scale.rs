//! `kubectl scale`, and whoever else sets the number of workers alone: the API server asks about a `Scale`, and the resource as it
//! would be afterwards is judged as if somebody had written it.
//!
//! The resource is the one that the stores have. It must not be older than the one that the API server scales; the webhook waits
//! until it is not ([`is_behind`]).

use std::mem::swap;
use std::sync::Arc;

use dask_operator_core::json::tree_bytes;
use dask_operator_core::parent::DaskKind;
use dask_operator_runtime::contract::Operation;
use serde_json::{Value, json};

use super::review::{About, Question, Step};
use crate::object::Object;
use crate::routes::ParentKey;
use crate::stores::Stores;

/// Where the workers' number is.
const WORKER: &str = "/spec/worker";

/// The field in it.
const REPLICAS: &str = "replicas";

/// The kind that can be scaled under this name in paths.
#[must_use]
pub fn kind(plural: &str) -> Option<DaskKind> {
    [DaskKind::Cluster, DaskKind::WorkerGroup]
        .into_iter()
        .find(|kind| kind.plural() == plural)
}

/// Returns what counts of a `Scale`: which object it is about, as it was before (`old`), and how many workers it shall have.
#[must_use]
pub fn reduced(scale: &Value, old: Option<&Value>, name: &str) -> Value {
    let before = &old.unwrap_or(scale)["metadata"];
    let namespace = scale["metadata"]["namespace"].as_str();
    let mut reduced = json!({
        "metadata": {"name": name, "uid": before["uid"].as_str(), "resourceVersion": before["resourceVersion"].as_str()},
        // What is zero is left out.
        REPLICAS: scale["spec"][REPLICAS].as_u64().unwrap_or_default(),
    });
    if let Some(namespace) = namespace {
        reduced["metadata"]["namespace"] = namespace.into();
    }
    reduced
}

/// Whether the stores do not know the resource yet as the API server has it. `scale` is what [`reduced`] gave.
#[must_use]
pub fn is_behind(stores: &Stores, kind: DaskKind, scale: &Value) -> bool {
    let wanted = version(text(scale, "resourceVersion"));
    stored(stores, kind, scale).is_none_or(|object| {
        let known = version(&object.resource_version);
        // Of versions that are no numbers, nobody knows which is newer.
        known.zip(wanted).is_some_and(|(known, wanted)| known < wanted)
    })
}

/// Bytes of memory that [`update`] takes, as far as the resource is known.
#[must_use]
pub fn bytes(stores: &Stores, kind: DaskKind, scale: &Value) -> usize {
    let bytes = stored(stores, kind, scale).map(|object| tree_bytes(&*object.json));
    // As it was, and as it would be.
    2 * bytes.unwrap_or_default()
}

fn version(text: &str) -> Option<u64> {
    text.parse().ok()
}

fn text<'a>(scale: &'a Value, field: &str) -> &'a str {
    scale["metadata"][field].as_str().unwrap_or_default()
}

/// The resource that is scaled, as far as it is known.
fn stored(stores: &Stores, kind: DaskKind, scale: &Value) -> Option<Arc<Object>> {
    let key = ParentKey::new(kind, text(scale, "namespace"), text(scale, "name"));
    let uid = text(scale, "uid");
    stores.parent(&key).filter(|object| *object.uid == *uid)
}

/// A resource that is scaled.
#[derive(Debug)]
pub struct Scaled {
    /// The update of the resource that it comes to.
    pub question: Question,
    /// Whether it has fewer workers then.
    pub is_fewer: bool,
}

impl Scaled {
    /// Returns the same the other way round: what is wrong with that is not because the workers are fewer.
    #[must_use]
    pub fn reversed(mut self) -> Question {
        if let Some(old) = &mut self.question.old {
            swap(old, &mut self.question.object);
        }
        self.question
    }
}

/// The update of a resource that a question about a `Scale` comes to.
///
/// # Errors
///
/// A sentence, when the stores don't know the resource as the API server has it.
pub fn update(stores: &Stores, kind: DaskKind, asked: &Question) -> Result<Scaled, String> {
    let scale = &asked.object;
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
    let question = Question {
        step: Step::Validate,
        about: About::Dask(kind),
        operation: Operation::Update,
        object,
        old: Some(old),
        user: asked.user.clone(),
        user_info: asked.user_info.clone(),
        dry_run: asked.dry_run,
    };
    Ok(Scaled { question, is_fewer })
}

#[cfg(test)]
pub(super) mod tests {
    use dask_operator_core::names::DASK_API_VERSION;
    use rstest::rstest;

    use super::*;
    use crate::kinds::Kind;
    use crate::object::tests;

    /// There is the worker group `g` in `n`, of version 7, with so many workers.
    pub(in crate::webhook) fn stores(workers: u32) -> Stores {
        let stores = Stores::new([]);
        let group = json!({
            "apiVersion": DASK_API_VERSION, "kind": "DaskWorkerGroup", "spec": {"worker": {"replicas": workers, "spec": {}}},
            "metadata": {"namespace": "n", "name": "g", "uid": "u", "resourceVersion": "7"},
        });
        let store = stores.of(&Kind::dask(DaskKind::WorkerGroup).resource);
        store.map(|store| store.shown(tests::object(&group)));
        stores
    }

    /// What the API server asks when somebody scales a worker group.
    fn question(name: &str, uid: &str, version: &str, replicas: u32) -> Question {
        let scale = json!({"metadata": {"namespace": "n", "name": name, "uid": uid, "resourceVersion": version},
            "spec": {"replicas": replicas}});
        Question {
            step: Step::Validate,
            about: About::Scale(DaskKind::WorkerGroup),
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
    fn a_scale_is_an_update(#[case] replicas: u32, #[case] is_fewer: bool) {
        let scaled = update(
            &stores(3),
            DaskKind::WorkerGroup,
            &question("g", "u", "7", replicas),
        );
        let scaled = scaled.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(scaled.is_fewer, is_fewer);
        let workers = |object: &Value| object["spec"]["worker"]["replicas"].as_u64();
        assert_eq!(workers(&scaled.question.object), Some(replicas.into()));
        assert_eq!(scaled.question.old.as_ref().and_then(workers), Some(3));
        let reversed = scaled.reversed();
        assert_eq!(workers(&reversed.object), Some(3));
        assert_eq!(reversed.old.as_ref().and_then(workers), Some(replicas.into()));
    }

    #[test]
    fn it_takes_the_memory_of_the_resource_twice() {
        let asked = |name| question(name, "u", "7", 5).object;
        let kind = DaskKind::WorkerGroup;
        assert!(bytes(&stores(3), kind, &asked("g")) > 2 * 4 * 640);
        assert_eq!(bytes(&stores(3), kind, &asked("d")), 0);
    }

    #[rstest]
    #[case::known("g", "u", "7", true)]
    #[case::newer_than_asked("g", "u", "6", true)]
    #[case::older_than_asked("g", "u", "8", false)]
    #[case::odd_versions("g", "u", "x", true)]
    #[case::another_one("g", "v", "7", false)]
    #[case::unknown("d", "u", "7", false)]
    fn it_is_about_what_the_api_server_has(
        #[case] name: &str,
        #[case] uid: &str,
        #[case] version: &str,
        #[case] is_known: bool,
    ) {
        let asked = question(name, uid, version, 5);
        let stores = stores(3);
        assert_eq!(
            is_behind(&stores, DaskKind::WorkerGroup, &asked.object),
            !is_known
        );
        let update = update(&stores, DaskKind::WorkerGroup, &asked);
        assert_eq!(update.is_ok(), is_known, "{update:?}");
    }
}
