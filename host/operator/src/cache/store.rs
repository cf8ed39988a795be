//! Informer cache of the objects of one kind.
//!
//! The cache is updated by the watch, and also by the API server's answers to the operator's own writes: a reconcile
//! that follows a write sees its result even if the watch lags behind, and never creates an object twice. An object
//! that no watch has shown within [`UNCONFIRMED`] must be looked up, because it may be deleted, or the watch may not
//! work. An answer that arrives after the watch has shown the deletion of the object is ignored.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::time::Instant;

use crate::client::object::{Object, OwnerReference};

/// Time for which the answer to a write is trusted without confirmation by the watch.
pub(crate) const UNCONFIRMED: Duration = Duration::from_secs(30);

/// Time for which the uid of a deleted object is remembered: longer than an answer to a write may take.
const ENDED_RETENTION: Duration = Duration::from_secs(120);

/// Namespace and name, uid or cluster.
pub(crate) type Place = (Box<str>, Box<str>);

#[derive(Debug)]
struct Entry {
    object: Arc<Object>,
    /// The version that a watch last showed.
    shown: Option<Arc<Object>>,
    /// True if a watch has shown this version; otherwise it is the answer to a write.
    confirmed: bool,
    /// Time at which the object must be looked up, because no watch has ever shown it. `None` once a watch has shown
    /// it, which then also shows its deletion.
    unconfirmed_until: Option<Instant>,
    /// Generation of the relist in which the object was last seen.
    generation: u64,
}

#[derive(Debug, Default)]
struct Inner {
    objects: HashMap<Place, Entry>,
    /// Objects by their namespace and the uid of an owner. An owner in another namespace does not count.
    by_owner: HashMap<Place, BTreeSet<Place>>,
    by_cluster: HashMap<Place, BTreeSet<Place>>,
    /// Uids of objects that the operator has deleted, and the time until which they are regarded as terminating.
    deleted: HashMap<Box<str>, Instant>,
    ended: Ended,
    generation: u64,
    /// Size of the JSON of all objects, in bytes.
    bytes: usize,
}

/// Uids of objects whose deletion a watch has shown. Uids are never reused.
#[derive(Debug, Default)]
struct Ended {
    uids: HashSet<Box<str>>,
    order: VecDeque<(Instant, Box<str>)>,
}

impl Ended {
    fn add(&mut self, uid: &str) {
        let now = Instant::now();
        while let Some((_, old)) = self
            .order
            .pop_front_if(|(at, _)| now.duration_since(*at) > ENDED_RETENTION)
        {
            self.uids.remove(&old);
        }
        if self.uids.insert(uid.into()) {
            self.order.push_back((now, uid.into()));
        }
    }
}

/// Informer cache of the objects of one kind.
#[derive(Debug, Default)]
pub(crate) struct Store {
    inner: RwLock<Inner>,
}

/// An object before and after a change.
#[derive(Debug)]
pub(crate) struct ObjectChange {
    /// `None` if the object is new.
    pub(crate) before: Option<Arc<Object>>,
    /// `None` if the object is gone.
    pub(crate) after: Option<Arc<Object>>,
}

fn place(object: &Object) -> Place {
    (object.namespace.clone(), object.name.clone())
}

/// Returns the key of `object` in the index by owner, for this owner.
fn owned(object: &Object, owner: &OwnerReference) -> Place {
    (object.namespace.clone(), owner.uid.clone())
}

/// Returns whether `one` is older than `two`. Resource versions of one kind are increasing numbers; on a server with
/// other versions, no object is regarded as older.
fn is_older(one: &Object, two: &Object) -> bool {
    let version = |object: &Object| object.resource_version.parse::<u64>().ok();
    matches!((version(one), version(two)), (Some(one), Some(two)) if one < two)
}

/// Returns the cluster under which an object is indexed: the one that a worker group or autoscaler names, or the one in
/// the label of a scheduler.
fn cluster(object: &Object) -> Option<Place> {
    let name = object
        .spec_cluster
        .as_deref()
        .or_else(|| object.cluster_of_scheduler())?;
    Some((object.namespace.clone(), name.into()))
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

    /// Replaces an object. Returns the change from the version that a watch last showed. `confirmed` is true if a watch
    /// shows the object.
    fn put(&mut self, mut object: Object, confirmed: bool) -> ObjectChange {
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
            generation: self.generation,
        };
        self.objects.insert(place(&object), entry);
        ObjectChange {
            before,
            after: Some(object),
        }
    }

    /// Stores an object that a watch or a lookup shows.
    fn show(&mut self, object: Object) -> Option<ObjectChange> {
        let generation = self.generation;
        if let Some(entry) = self.objects.get_mut(&place(&object)) {
            let same = entry.object.uid == object.uid;
            let overtaken = (same || !entry.confirmed) && is_older(&object, &entry.object);
            let known = same && entry.confirmed && entry.object.resource_version == object.resource_version;
            if overtaken || known {
                entry.generation = generation;
                return None;
            }
        }
        Some(self.put(object, true))
    }

    fn take(&mut self, place: &Place) -> Option<ObjectChange> {
        let entry = self.objects.remove(place)?;
        self.unindex(&entry.object);
        self.bytes -= entry.object.json.len();
        self.deleted.remove(&entry.object.uid);
        self.ended.add(&entry.object.uid);
        Some(ObjectChange {
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
        self.inner.read()
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write()
    }

    /// Stores an object that a watch shows. Returns `None` if the object is older than the stored one, or has been
    /// shown before.
    pub(crate) fn apply_event(&self, object: Object) -> Option<ObjectChange> {
        self.write().show(object)
    }

    /// Stores an object that was looked up, unless the watch has shown its deletion meanwhile.
    pub(crate) fn apply_lookup(&self, object: Object) -> Option<ObjectChange> {
        let mut inner = self.write();
        if inner.ended.uids.contains(&object.uid) {
            return None;
        }
        inner.show(object)
    }

    /// Removes an object whose deletion a watch shows.
    pub(crate) fn remove(&self, object: &Object) -> Option<ObjectChange> {
        let mut inner = self.write();
        inner.deleted.remove(&object.uid);
        inner.ended.add(&object.uid);
        let place = place(object);
        if inner.objects.get(&place)?.object.uid != object.uid {
            return None;
        }
        inner.take(&place)
    }

    /// Starts a relist and returns its generation, for [`Store::end_relist`].
    pub(crate) fn begin_relist(&self) -> u64 {
        let mut inner = self.write();
        inner.generation += 1;
        inner.generation
    }

    /// Ends the relist of `namespace` (`None` for all) with this generation: removes the objects that it did not show,
    /// unless they were written meanwhile.
    pub(crate) fn end_relist(&self, generation: u64, namespace: Option<&str>) -> Vec<ObjectChange> {
        let mut inner = self.write();
        let now = Instant::now();
        inner.deleted.retain(|_, until| *until > now);
        let unseen = |(place, entry): (&Place, &Entry)| {
            let here = namespace.is_none_or(|namespace| *place.0 == *namespace);
            (here && entry.generation < generation).then(|| place.clone())
        };
        let gone: Vec<_> = inner.objects.iter().filter_map(unseen).collect();
        gone.iter().filter_map(|place| inner.take(place)).collect()
    }

    /// Returns the written objects that no watch has shown in time, nearly always none. After a lookup, the caller
    /// stores the result with [`Store::apply_lookup`] or [`Store::remove`].
    #[must_use]
    pub(crate) fn overdue(&self) -> Vec<Arc<Object>> {
        let now = Instant::now();
        let is_overdue = |entry: &&Entry| entry.unconfirmed_until.is_some_and(|until| until <= now);
        let inner = self.read();
        let overdue = inner.objects.values().filter(is_overdue);
        overdue.map(|entry| entry.object.clone()).collect()
    }

    /// Stores the API server's answer to a write.
    pub(crate) fn record_write(&self, object: Object) {
        let mut inner = self.write();
        let known = inner.objects.get(&place(&object)).map(|entry| &entry.object);
        let overtaken = known.is_some_and(|known| known.uid == object.uid && !is_older(known, &object));
        if !overtaken && !inner.ended.uids.contains(&object.uid) {
            inner.put(object, false);
        }
    }

    /// Returns all objects for which `holds` is true. Visits every object.
    #[must_use]
    pub(crate) fn all_where(&self, holds: impl Fn(&Object) -> bool) -> Vec<Arc<Object>> {
        let inner = self.read();
        let places = inner.objects.keys().filter_map(|place| inner.get(place));
        places.filter(|object| holds(object)).cloned().collect()
    }

    /// Marks an object as terminating after the API server has accepted its deletion, whatever a lagging watch shows.
    pub(crate) fn mark_deleted(&self, object: &Object) {
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

    /// Returns the object with this name.
    #[must_use]
    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.read().get(&(namespace.into(), name.into())).cloned()
    }

    /// Returns all objects in `namespace` with the owner `uid`, in the order of their names.
    #[must_use]
    pub(crate) fn owned_by(&self, namespace: &str, uid: &str) -> Vec<Arc<Object>> {
        let inner = self.read();
        inner.all(inner.by_owner.get(&(namespace.into(), uid.into())))
    }

    /// Returns all worker groups and autoscalers that name the cluster, or its schedulers (pods or Services), in the
    /// order of their names.
    #[must_use]
    pub(crate) fn of_cluster(&self, namespace: &str, cluster: &str) -> Vec<Arc<Object>> {
        let inner = self.read();
        inner.all(inner.by_cluster.get(&(namespace.into(), cluster.into())))
    }

    /// Returns the number of objects, and the size of their JSON in bytes.
    #[must_use]
    pub(crate) fn size(&self) -> (usize, usize) {
        let inner = self.read();
        (inner.objects.len(), inner.bytes)
    }
}

#[cfg(test)]
mod tests;
