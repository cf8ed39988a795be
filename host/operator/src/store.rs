//! All objects of one kind, as far as the operator knows them.
//!
//! What a watch delivers ends here, and so does what the API server answered to
//! the operator's own writes: a reconcile that follows a write sees it, even when
//! the watch lags behind, and never creates a thing twice. Such an entry counts
//! until the watch confirms or overtakes it, and for [`UNCONFIRMED`] at most.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tokio::time::Instant;

use crate::object::Object;

/// How long the answer to a write counts without the watch having shown it.
pub const UNCONFIRMED: Duration = Duration::from_secs(30);

/// Namespace and name.
pub type Place = (Box<str>, Box<str>);

#[derive(Debug)]
struct Entry {
    object: Arc<Object>,
    /// What a watch last showed.
    shown: Option<Arc<Object>>,
    /// Until when it counts although no watch has shown it; none once one has.
    unconfirmed_until: Option<Instant>,
    /// The round of listing in which it was last seen.
    round: u64,
}

#[derive(Debug, Default)]
struct Inner {
    objects: HashMap<Place, Entry>,
    by_owner: HashMap<Box<str>, BTreeSet<Place>>,
    by_cluster: HashMap<Place, BTreeSet<Place>>,
    /// Uids that were deleted by us, and until when that counts.
    deleted: HashMap<Box<str>, Instant>,
    round: u64,
}

/// All objects of one kind.
#[derive(Debug, Default)]
pub struct Store {
    inner: RwLock<Inner>,
}

/// What an object was before a change, and is now.
#[derive(Debug)]
pub struct Change {
    /// None when it is new.
    pub before: Option<Arc<Object>>,
    /// None when it is gone.
    pub after: Option<Arc<Object>>,
}

fn place(object: &Object) -> Place {
    (object.namespace.clone(), object.name.clone())
}

/// Whether `one` is older than `two`. Resource versions of one kind are numbers
/// that grow; those of a server that has others are never older.
fn is_older(one: &Object, two: &Object) -> bool {
    let version = |object: &Object| object.resource_version.parse::<u64>().ok();
    matches!((version(one), version(two)), (Some(one), Some(two)) if one < two)
}

/// The cluster under which an object is found, beside its owner: worker groups
/// and autoscalers by the one that they name, schedulers by their label.
fn cluster(object: &Object) -> Option<Place> {
    let scheduler = object.component_label.as_deref() == Some("scheduler");
    let label = object.cluster_label.as_ref().filter(|_| scheduler);
    let name = object.spec_cluster.as_ref().or(label)?;
    Some((object.namespace.clone(), name.clone()))
}

impl Inner {
    fn index(&mut self, object: &Object) {
        for owner in &object.owners {
            self.by_owner
                .entry(owner.uid.clone())
                .or_default()
                .insert(place(object));
        }
        if let Some(cluster) = cluster(object) {
            self.by_cluster.entry(cluster).or_default().insert(place(object));
        }
    }

    fn unindex(&mut self, object: &Object) {
        let place = place(object);
        let take = |set: Option<&mut BTreeSet<Place>>| {
            set.is_some_and(|set| {
                set.remove(&place);
                set.is_empty()
            })
        };
        for owner in &object.owners {
            if take(self.by_owner.get_mut(&owner.uid)) {
                self.by_owner.remove(&owner.uid);
            }
        }
        if let Some(cluster) = cluster(object)
            && take(self.by_cluster.get_mut(&cluster))
        {
            self.by_cluster.remove(&cluster);
        }
    }

    /// Puts an object in the place of what is there. Gives both, the latter as a
    /// watch last showed it.
    fn put(&mut self, mut object: Object, unconfirmed_until: Option<Instant>) -> Change {
        if !object.terminating && self.deleted.contains_key(&object.uid) {
            object.terminating = true;
        }
        let object = Arc::new(object);
        let replaced = self.objects.remove(&place(&object));
        if let Some(entry) = &replaced {
            self.unindex(&entry.object);
        }
        self.index(&object);
        let before = replaced.and_then(|entry| entry.shown);
        let shown = if unconfirmed_until.is_some() {
            before.clone()
        } else {
            Some(object.clone())
        };
        let entry = Entry {
            object: object.clone(),
            shown,
            unconfirmed_until,
            round: self.round,
        };
        self.objects.insert(place(&object), entry);
        Change {
            before,
            after: Some(object),
        }
    }

    fn take(&mut self, place: &Place) -> Option<Change> {
        let entry = self.objects.remove(place)?;
        self.unindex(&entry.object);
        self.deleted.remove(&entry.object.uid);
        Some(Change {
            before: Some(entry.object),
            after: None,
        })
    }

    fn get(&self, place: &Place) -> Option<&Arc<Object>> {
        let entry = self.objects.get(place)?;
        let counts = entry.unconfirmed_until.is_none_or(|until| Instant::now() < until);
        counts.then_some(&entry.object)
    }

    fn all(&self, places: Option<&BTreeSet<Place>>) -> Vec<Arc<Object>> {
        places
            .into_iter()
            .flatten()
            .filter_map(|place| self.get(place))
            .cloned()
            .collect()
    }
}

impl Store {
    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// A watch shows an object. None when that is older than what is known, or
    /// was shown before.
    pub fn shown(&self, object: Object) -> Option<Change> {
        let mut inner = self.write();
        let round = inner.round;
        if let Some(entry) = inner.objects.get_mut(&place(&object)) {
            let same = entry.object.uid == object.uid;
            if entry.unconfirmed_until.is_some() && is_older(&object, &entry.object) {
                entry.round = round;
                return None;
            }
            let confirmed = entry.unconfirmed_until.is_none();
            if confirmed && same && entry.object.resource_version == object.resource_version {
                entry.round = round;
                return None;
            }
        }
        Some(inner.put(object, None))
    }

    /// A watch shows that an object is gone.
    pub fn gone(&self, object: &Object) -> Option<Change> {
        let mut inner = self.write();
        inner.deleted.remove(&object.uid);
        let place = place(object);
        if inner.objects.get(&place)?.object.uid != object.uid {
            return None;
        }
        inner.take(&place)
    }

    /// A list begins. Gives the round for [`Store::list_ends`].
    pub fn list_begins(&self) -> u64 {
        let mut inner = self.write();
        inner.round += 1;
        inner.round
    }

    /// A list of `namespace` (none for all) that began with `round` is through:
    /// what it did not show is gone.
    pub fn list_ends(&self, round: u64, namespace: Option<&str>) -> Vec<Change> {
        let mut inner = self.write();
        let now = Instant::now();
        inner.deleted.retain(|_, until| *until > now);
        let unseen = |(place, entry): (&Place, &Entry)| {
            let here = namespace.is_none_or(|namespace| *place.0 == *namespace);
            let kept = entry.round >= round || entry.unconfirmed_until.is_some_and(|until| until > now);
            (here && !kept).then(|| place.clone())
        };
        let gone: Vec<_> = inner.objects.iter().filter_map(unseen).collect();
        gone.iter().filter_map(|place| inner.take(place)).collect()
    }

    /// The API server answered a write with this object.
    pub fn wrote(&self, object: Object) {
        let mut inner = self.write();
        let known = inner.objects.get(&place(&object)).map(|entry| &entry.object);
        if known.is_some_and(|known| known.uid == object.uid && !is_older(known, &object)) {
            return;
        }
        inner.put(object, Some(Instant::now() + UNCONFIRMED));
    }

    /// All objects of which this holds; looks at each.
    #[must_use]
    pub fn all_where(&self, holds: impl Fn(&Object) -> bool) -> Vec<Arc<Object>> {
        let inner = self.read();
        let places = inner.objects.keys().filter_map(|place| inner.get(place));
        places.filter(|object| holds(object)).cloned().collect()
    }

    /// The API server accepted the deletion of `object`: it is on its way out,
    /// whatever a watch that lags behind says.
    pub fn deleted(&self, object: &Object) {
        let mut inner = self.write();
        let until = Instant::now() + UNCONFIRMED;
        let place = place(object);
        let Some(entry) = inner
            .objects
            .get_mut(&place)
            .filter(|entry| entry.object.uid == object.uid)
        else {
            return;
        };
        if !entry.object.terminating {
            let terminating = Object {
                terminating: true,
                ..Object::clone(&entry.object)
            };
            entry.object = Arc::new(terminating);
        }
        inner.deleted.insert(object.uid.clone(), until);
    }

    /// The object of that name.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.read().get(&(namespace.into(), name.into())).cloned()
    }

    /// All that `uid` owns, in the order of their names.
    #[must_use]
    pub fn owned_by(&self, uid: &str) -> Vec<Arc<Object>> {
        let inner = self.read();
        inner.all(inner.by_owner.get(uid))
    }

    /// All worker groups and autoscalers that name the cluster, or its
    /// schedulers, in the order of their names.
    #[must_use]
    pub fn of_cluster(&self, namespace: &str, cluster: &str) -> Vec<Arc<Object>> {
        let inner = self.read();
        inner.all(inner.by_cluster.get(&(namespace.into(), cluster.into())))
    }

    /// How many there are, and the bytes of their JSON.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        let inner = self.read();
        (
            inner.objects.len(),
            inner.objects.values().map(|entry| entry.object.json.len()).sum(),
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::object::tests::object;

    fn pod(name: &str, uid: &str, version: u64) -> Object {
        object(&json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": name, "namespace": "n", "uid": uid, "resourceVersion": version.to_string(),
                "labels": {"dask.org/cluster-name": "a"},
                "ownerReferences": [{"kind": "DaskWorkerGroup", "name": "g", "uid": "owner"}],
            },
        }))
    }

    fn names(store: &Store) -> Vec<String> {
        store
            .owned_by("owner")
            .iter()
            .map(|object| object.name.to_string())
            .collect()
    }

    #[test]
    fn objects_are_found_by_owner() {
        let store = Store::default();
        store.shown(pod("b", "1", 1));
        store.shown(pod("a", "2", 2));
        assert_eq!(names(&store), ["a", "b"]);
        store.gone(&pod("a", "2", 3));
        assert_eq!(names(&store), ["b"]);
        store.gone(&pod("b", "1", 4));
        assert!(names(&store).is_empty() && store.read().by_owner.is_empty());
    }

    #[test]
    fn groups_are_found_by_cluster_and_schedulers_too() {
        let store = Store::default();
        let group = json!({
            "apiVersion": "kubernetes.dask.org/v1", "kind": "DaskWorkerGroup",
            "metadata": {"name": "g", "namespace": "n", "uid": "1"}, "spec": {"cluster": "a"},
        });
        let labels = json!({"dask.org/cluster-name": "a", "dask.org/component": "scheduler"});
        let scheduler = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "s", "namespace": "n", "uid": "2", "labels": labels},
        });
        store.shown(object(&group));
        store.shown(object(&scheduler));
        store.shown(pod("w", "3", 1));
        let found: Vec<_> = store
            .of_cluster("n", "a")
            .iter()
            .map(|object| object.name.to_string())
            .collect();
        assert_eq!(found, ["g", "s"]);
        assert!(store.of_cluster("m", "a").is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_written_is_seen_at_once_and_for_a_while() {
        let store = Store::default();
        store.wrote(pod("a", "1", 5));
        assert_eq!(names(&store), ["a"]);
        assert!(
            store.shown(pod("a", "0", 3)).is_none(),
            "an older one of that name"
        );
        assert_eq!(
            store.get("n", "a").map(|object| object.uid.to_string()),
            Some("1".into())
        );
        let round = store.list_begins();
        assert!(
            store.list_ends(round, None).is_empty(),
            "a list that was answered before"
        );
        tokio::time::advance(UNCONFIRMED).await;
        assert!(names(&store).is_empty(), "no watch has ever shown it");
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_watch_confirms_stays() {
        let store = Store::default();
        store.wrote(pod("a", "1", 5));
        let change = store.shown(pod("a", "1", 5));
        assert!(
            change.is_some_and(|change| change.before.is_none()),
            "for all others it is new"
        );
        assert!(store.shown(pod("a", "1", 5)).is_none(), "nothing new");
        tokio::time::advance(UNCONFIRMED).await;
        assert_eq!(names(&store), ["a"]);
        assert!(
            store
                .shown(pod("a", "1", 6))
                .is_some_and(|change| change.before.is_some())
        );
        store.wrote(pod("a", "1", 5));
        assert_eq!(
            store
                .get("n", "a")
                .map(|object| object.resource_version.to_string()),
            Some("6".into())
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_deleted_terminates_whatever_the_watch_says() {
        let store = Store::default();
        store.shown(pod("a", "1", 5));
        store.deleted(&pod("a", "1", 5));
        let terminating = || store.get("n", "a").is_some_and(|object| object.terminating);
        assert!(terminating());
        store.shown(pod("a", "1", 6));
        assert!(terminating(), "a change from before the deletion");
        store.gone(&pod("a", "1", 7));
        store.shown(pod("a", "2", 8));
        assert!(!terminating(), "a new one");
    }

    #[test]
    fn the_end_of_an_old_one_does_not_touch_a_new_one() {
        let store = Store::default();
        store.wrote(pod("a", "2", 9));
        assert!(store.gone(&pod("a", "1", 8)).is_none());
        assert_eq!(names(&store), ["a"]);
    }

    #[test]
    fn a_list_ends_what_it_does_not_show() {
        let store = Store::default();
        store.shown(pod("a", "1", 1));
        store.shown(pod("b", "2", 2));
        let round = store.list_begins();
        store.shown(pod("a", "1", 1));
        let gone = store.list_ends(round, None);
        assert_eq!(gone.len(), 1);
        assert_eq!(names(&store), ["a"]);
        let round = store.list_begins();
        assert!(
            store.list_ends(round, Some("other")).is_empty(),
            "another namespace's list"
        );
    }
}
