//! Rules and limits for plans.

use crate::plan::ResourceKind;

/// Size limits of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Maximum number of children.
    pub children: usize,
    /// Maximum number of bytes of one child's JSON. The API server accepts 1.5 MiB (etcd's limit).
    pub object_bytes: usize,
    /// Maximum number of bytes of the JSON of all children together.
    pub plan_bytes: usize,
    /// Maximum number of bytes of memory for parsed JSON, as estimated by [`tree_bytes`](crate::json::tree_bytes): the whole
    /// objects of children to apply, and the metadata of children to create.
    pub tree_bytes: usize,
    /// Maximum number of bytes of the parent's status, which shares the API server's limit with the parent's spec.
    pub status_bytes: usize,
    /// Maximum number of conditions.
    pub conditions: usize,
    /// Maximum number of bytes of the texts of all conditions together.
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

/// Rules that a plan is checked against.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// Kinds that the component declared for its children.
    pub declared: &'a [ResourceKind],
    /// Kinds that the administrator allows in addition to the defaults of [`kinds::allowed`](super::kinds::allowed).
    pub extra: &'a [ResourceKind],
    /// Types of conditions that only the host may write.
    pub host_conditions: &'a [&'a str],
    /// Size limits.
    pub limits: Limits,
}

impl<'a> Rules<'a> {
    /// Returns the default rules for a component that declares these kinds.
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
