//! Kinds of children that a parent may have, regardless of the declarations of a component.
//!
//! The defaults are namespaced kinds that neither grant permissions (RBAC, service accounts) nor contain secrets, so that
//! neither a component nor its users can gain permissions that the administrator has not granted.

use thiserror::Error;

use crate::names::DASK_API_VERSION;
use crate::parent::DaskKind;
use crate::plan::{NoKind, ResourceKind};

/// Kinds that the children of any Dask resource with pods may have.
const COMMON_KINDS: [(&str, &str); 8] = [
    ("v1", "Pod"),
    ("v1", "Service"),
    ("v1", "ConfigMap"),
    ("v1", "PersistentVolumeClaim"),
    ("apps/v1", "Deployment"),
    ("policy/v1", "PodDisruptionBudget"),
    ("networking.k8s.io/v1", "Ingress"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
];

/// API groups whose kinds grant permissions or control access.
const PRIVILEGED_GROUPS: [&str; 8] = [
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "authorization.openshift.io",
    "certificates.k8s.io",
    "rbac.authorization.k8s.io",
];

/// Returns whether objects of this kind grant permissions, contain secrets, or select the plugins of the operator. No
/// component may create them, regardless of the kinds that an administrator allows.
#[must_use]
pub fn gives_rights(kind: &ResourceKind) -> bool {
    let group = kind.api_version.split_once('/').map_or("", |(group, _)| group);
    let of_dask = DASK_API_VERSION
        .split_once('/')
        .is_some_and(|(dask, _)| dask == group);
    match &*kind.kind {
        "Secret" | "ServiceAccount" if group.is_empty() => true,
        "DaskPlugin" | "ClusterDaskPlugin" if of_dask => true,
        _ => PRIVILEGED_GROUPS.contains(&group),
    }
}

/// Error about a text that is not the name of a kind that children may have.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum NoChild {
    /// The text is not the name of a kind.
    #[error(transparent)]
    NoKind(#[from] NoKind),
    /// Objects of this kind grant permissions or hold secrets.
    #[error(
        "{0} gives rights, holds secrets or says which code decides, and no component may create it: create it yourself"
    )]
    GivesRights(ResourceKind),
}

/// Parses the name of a kind that children may have, as `v1/ConfigMap` or `cert-manager.io/v1/Certificate`.
///
/// # Errors
///
/// Returns an error if the text has another form, or if the kind grants permissions or holds secrets.
pub fn child_kind(text: &str) -> Result<ResourceKind, NoChild> {
    let kind: ResourceKind = text.parse()?;
    if gives_rights(&kind) {
        return Err(NoChild::GivesRights(kind));
    }
    Ok(kind)
}

/// Returns the kinds that children of `parent` may have.
///
/// `extra` are kinds that the administrator allows in addition, for every parent that has pods. Kinds that
/// [grant permissions](gives_rights) are left out of them.
#[must_use]
pub fn allowed(parent: DaskKind, extra: &[ResourceKind]) -> Vec<ResourceKind> {
    let dask: &[&str] = match parent {
        DaskKind::Cluster => &["DaskWorkerGroup", "DaskAutoscaler"],
        DaskKind::Job => &["DaskCluster"],
        DaskKind::WorkerGroup => &[],
        DaskKind::Autoscaler => return Vec::new(),
    };
    let common = COMMON_KINDS
        .iter()
        .map(|(api_version, kind)| ResourceKind::new(*api_version, *kind));
    let dask = dask.iter().map(|kind| ResourceKind::new(DASK_API_VERSION, *kind));
    let extra = extra.iter().filter(|kind| !gives_rights(kind)).cloned();
    common.chain(dask).chain(extra).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("v1", "Secret", true)]
    #[case("v1", "ServiceAccount", true)]
    #[case("rbac.authorization.k8s.io/v1", "RoleBinding", true)]
    #[case("authentication.k8s.io/v1", "TokenRequest", true)]
    #[case("kubernetes.dask.org/v1", "DaskPlugin", true)]
    #[case("kubernetes.dask.org/v1", "DaskCluster", false)]
    #[case("v1", "ConfigMap", false)]
    #[case("cert-manager.io/v1", "Certificate", false)]
    #[case("example.org/v1", "Secret", false)]
    fn privileged_kinds_are_not_allowed(
        #[case] api_version: &str,
        #[case] kind: &str,
        #[case] expected: bool,
    ) {
        let kind = ResourceKind::new(api_version, kind);
        assert_eq!(gives_rights(&kind), expected);
        let allowed = allowed(DaskKind::WorkerGroup, std::slice::from_ref(&kind));
        assert_eq!(allowed.contains(&kind), !expected);
    }
}
