//! All objects of one kind, as far as the operator knows them.
//!
//! What a watch delivers ends here, and so does what the API server answered to
//! the operator's own writes: a reconcile that follows a write sees it, even when
//! the watch lags behind, and never creates a thing twice. For an object that no
//! watch has shown within [`UNCONFIRMED`] somebody has to look: it may be gone, or
//! the watch may be in trouble. An answer that comes after the watch has shown the
//! end of the object counts for nothing.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tokio::time::Instant;

use crate::object::{Object, OwnerReference};

/// How long the answer to a write counts for sure without the watch having shown it.
pub const UNCONFIRMED: Duration = Duration::from_secs(30);

/// How long the end of an object is remembered: longer than an answer to a write
/// may take.
const ENDED: Duration = Duration::from_secs(120);

/// Namespace and name.
pub type Place = (Box<str>, Box<str>);

#[derive(Debug)]
struct Entry {
    object: Arc<Object>,
    /// What a watch last showed.
    shown: Option<Arc<Object>>,
    /// Whether a watch has shown this version; else it is the answer to a write.
    confirmed: bool,
    /// When somebody has to look whether it is there, because no watch has ever shown it; none once one
    /// has, for then one shows its end as well.
    unconfirmed_until: Option<Instant>,
    /// The round of listing in which it was last seen.
    round: u64,
}

#[derive(Debug, Default)]
struct Inner {
    objects: HashMap<Place, Entry>,
    /// By the namespace that they share with an owner, and its uid: an owner in another namespace is none.
    by_owner: HashMap<Place, BTreeSet<Place>>,
    by_cluster: HashMap<Place, BTreeSet<Place>>,
    /// Uids that were deleted by us, and until when that counts.
    deleted: HashMap<Box<str>, Instant>,
    ended: Ended,
    round: u64,
    /// The bytes of JSON of all objects.
    bytes: usize,
}

/// Uids of objects that a watch has shown to be gone. They never come back.
#[derive(Debug, Default)]
struct Ended {
    uids: HashSet<Box<str>>,
    order: VecDeque<(Instant, Box<str>)>,
}

impl Ended {
    fn add(&mut self, uid: &str) {
        let now = Instant::now();
        while let Some((_, old)) = self.order.pop_front_if(|(at, _)| now.duration_since(*at) > ENDED) {
            self.uids.remove(&old);
        }
        if self.uids.insert(uid.into()) {
            self.order.push_back((now, uid.into()));
        }
    }
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

/// Under what `object` is found that the owner with this uid has.
fn owned(object: &Object, owner: &OwnerReference) -> Place {
    (object.namespace.clone(), owner.uid.clone())
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
                .entry(owned(object, owner))
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
            let owned = owned(object, owner);
            if take(self.by_owner.get_mut(&owned)) {
                self.by_owner.remove(&owned);
            }
        }
        if let Some(cluster) = cluster(object)
            && take(self.by_cluster.get_mut(&cluster))
        {
            self.by_cluster.remove(&cluster);
        }
    }

    /// Puts an object in the place of what is there. Gives both, the latter as a
    /// watch last showed it. `confirmed` says that it is a watch that shows it.
    fn put(&mut self, mut object: Object, confirmed: bool) -> Change {
        if !object.terminating && self.deleted.contains_key(&object.uid) {
            object.terminating = true;
        }
        let object = Arc::new(object);
        let replaced = self.objects.remove(&place(&object));
        if let Some(entry) = &replaced {
            self.unindex(&entry.object);
            self.bytes -= entry.object.json.len();
        }
        self.index(&object);
        self.bytes += object.json.len();
        let before = replaced.and_then(|entry| entry.shown);
        let shown = if confirmed {
            Some(object.clone())
        } else {
            before.clone()
        };
        let known = shown.as_ref().is_some_and(|shown| shown.uid == object.uid);
        let entry = Entry {
            object: object.clone(),
            shown,
            confirmed,
            unconfirmed_until: (!known).then(|| Instant::now() + UNCONFIRMED),
            round: self.round,
        };
        self.objects.insert(place(&object), entry);
        Change {
            before,
            after: Some(object),
        }
    }

    /// A watch, or somebody who looked, shows an object.
    fn show(&mut self, object: Object) -> Option<Change> {
        let round = self.round;
        if let Some(entry) = self.objects.get_mut(&place(&object)) {
            let same = entry.object.uid == object.uid;
            let overtaken = (same || !entry.confirmed) && is_older(&object, &entry.object);
            let known = same && entry.confirmed && entry.object.resource_version == object.resource_version;
            if overtaken || known {
                entry.round = round;
                return None;
            }
        }
        Some(self.put(object, true))
    }

    fn take(&mut self, place: &Place) -> Option<Change> {
        let entry = self.objects.remove(place)?;
        self.unindex(&entry.object);
        self.bytes -= entry.object.json.len();
        self.deleted.remove(&entry.object.uid);
        self.ended.add(&entry.object.uid);
        Some(Change {
            before: Some(entry.object),
            after: None,
        })
    }

    fn get(&self, place: &Place) -> Option<&Arc<Object>> {
        self.objects.get(place).map(|entry| &entry.object)
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
        self.write().show(object)
    }

    /// Somebody looked, and found an object. The watch may have shown its end since.
    pub fn found(&self, object: Object) -> Option<Change> {
        let mut inner = self.write();
        if inner.ended.uids.contains(&object.uid) {
            return None;
        }
        inner.show(object)
    }

    /// A watch shows that an object is gone.
    pub fn gone(&self, object: &Object) -> Option<Change> {
        let mut inner = self.write();
        inner.deleted.remove(&object.uid);
        inner.ended.add(&object.uid);
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
    /// what it did not show is gone, unless it was written meanwhile.
    pub fn list_ends(&self, round: u64, namespace: Option<&str>) -> Vec<Change> {
        let mut inner = self.write();
        let now = Instant::now();
        inner.deleted.retain(|_, until| *until > now);
        let unseen = |(place, entry): (&Place, &Entry)| {
            let here = namespace.is_none_or(|namespace| *place.0 == *namespace);
            (here && entry.round < round).then(|| place.clone())
        };
        let gone: Vec<_> = inner.objects.iter().filter_map(unseen).collect();
        gone.iter().filter_map(|place| inner.take(place)).collect()
    }

    /// Objects that were written and that no watch has shown in time. Nearly always there are none. Whoever has looked
    /// says what is there by [`Store::found`] or [`Store::gone`].
    #[must_use]
    pub fn overdue(&self) -> Vec<Arc<Object>> {
        let now = Instant::now();
        let is_overdue = |entry: &&Entry| entry.unconfirmed_until.is_some_and(|until| until <= now);
        let inner = self.read();
        let overdue = inner.objects.values().filter(is_overdue);
        overdue.map(|entry| entry.object.clone()).collect()
    }

    /// The API server answered a write with this object.
    pub fn wrote(&self, object: Object) {
        let mut inner = self.write();
        let known = inner.objects.get(&place(&object)).map(|entry| &entry.object);
        let overtaken = known.is_some_and(|known| known.uid == object.uid && !is_older(known, &object));
        if !overtaken && !inner.ended.uids.contains(&object.uid) {
            inner.put(object, false);
        }
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

    /// All in `namespace` that name `uid` as an owner, in the order of their names.
    #[must_use]
    pub fn owned_by(&self, namespace: &str, uid: &str) -> Vec<Arc<Object>> {
        let inner = self.read();
        inner.all(inner.by_owner.get(&(namespace.into(), uid.into())))
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
        (inner.objects.len(), inner.bytes)
    }
}

#[cfg(test)]
mod tests;
