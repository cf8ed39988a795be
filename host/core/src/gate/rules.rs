//! What a plan is measured by.

use crate::plan::ResourceKind;

/// How much a plan may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Children.
    pub children: usize,
    /// Bytes of one child's JSON. The API server takes 1.5 MiB (etcd's limit).
    pub object_bytes: usize,
    /// Bytes of all children's JSON together.
    pub plan_bytes: usize,
    /// Bytes of memory of what becomes trees, by [`tree_bytes`](crate::json::tree_bytes):
    /// all of the children to apply, the metadata of those to create.
    pub tree_bytes: usize,
    /// Bytes of the parent's status. It shares the API server's limit with the
    /// parent's spec.
    pub status_bytes: usize,
    /// Conditions.
    pub conditions: usize,
    /// Bytes of all conditions' texts together.
    pub condition_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            children: 20_000,
            object_bytes: 1 << 20,
            plan_bytes: 256 << 20,
            tree_bytes: 256 << 20,
            status_bytes: 256 << 10,
            conditions: 50,
            condition_bytes: 256 << 10,
        }
    }
}

/// What a plan is measured by.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// The kinds that the component declared for its children.
    pub declared: &'a [ResourceKind],
    /// Kinds that the administrator allows beyond [`kinds::allowed`](super::kinds::allowed).
    pub extra: &'a [ResourceKind],
    /// Types of conditions that the host writes and no component may.
    pub host_conditions: &'a [&'a str],
    /// How much it may hold.
    pub limits: Limits,
}

impl<'a> Rules<'a> {
    /// The usual rules for a component that declares these kinds.
    #[must_use]
    pub fn new(declared: &'a [ResourceKind]) -> Self {
        Self {
            declared,
            extra: &[],
            host_conditions: &[],
            limits: Limits::default(),
        }
    }
}
