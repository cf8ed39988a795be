//! Which kinds of children a parent may have at all, whatever a component
//! declares. Namespaced kinds only, and none that gives rights (RBAC, service
//! accounts) or holds secrets: a component can't raise itself or its users
//! above what the operator's administrator allowed.

use crate::names::DASK_API_VERSION;
use crate::parent::DaskKind;
use crate::plan::ResourceKind;

/// Kinds beside Pods that a plugin may add to any Dask resource that has pods.
const COMPANIONS: [(&str, &str); 8] = [
    ("v1", "Pod"),
    ("v1", "Service"),
    ("v1", "ConfigMap"),
    ("v1", "PersistentVolumeClaim"),
    ("apps/v1", "Deployment"),
    ("policy/v1", "PodDisruptionBudget"),
    ("networking.k8s.io/v1", "Ingress"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
];

/// API groups all of whose kinds give rights, or say who may do what.
const GIVE_RIGHTS: [&str; 8] = [
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "authorization.openshift.io",
    "certificates.k8s.io",
    "rbac.authorization.k8s.io",
];

/// Whether objects of this kind give rights, hold secrets, or name code that decides. No component makes any, whatever an
/// administrator allows.
#[must_use]
pub fn gives_rights(kind: &ResourceKind) -> bool {
    let group = kind.api_version.split_once('/').map_or("", |(group, _)| group);
    let of_dask = DASK_API_VERSION
        .split_once('/')
        .is_some_and(|(dask, _)| dask == group);
    match &*kind.kind {
        "Secret" | "ServiceAccount" if group.is_empty() => true,
        "DaskPlugin" | "ClusterDaskPlugin" if of_dask => true,
        _ => GIVE_RIGHTS.contains(&group),
    }
}

/// The kinds that children of `parent` may have. `extra` are those that the
/// administrator added, for every parent that has pods; those of them that
/// [give rights](gives_rights) don't count.
#[must_use]
pub fn allowed(parent: DaskKind, extra: &[ResourceKind]) -> Vec<ResourceKind> {
    let dask: &[&str] = match parent {
        DaskKind::Cluster => &["DaskWorkerGroup", "DaskAutoscaler"],
        DaskKind::Job => &["DaskCluster"],
        DaskKind::WorkerGroup => &[],
        DaskKind::Autoscaler => return Vec::new(),
    };
    let companions = COMPANIONS
        .iter()
        .map(|(api_version, kind)| ResourceKind::new(*api_version, *kind));
    let dask = dask.iter().map(|kind| ResourceKind::new(DASK_API_VERSION, *kind));
    let extra = extra.iter().filter(|kind| !gives_rights(kind)).cloned();
    companions.chain(dask).chain(extra).collect()
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
    fn what_gives_rights_is_no_child(#[case] api_version: &str, #[case] kind: &str, #[case] expected: bool) {
        let kind = ResourceKind::new(api_version, kind);
        assert_eq!(gives_rights(&kind), expected);
        let allowed = allowed(DaskKind::WorkerGroup, std::slice::from_ref(&kind));
        assert_eq!(allowed.contains(&kind), !expected);
    }
}
