//! API resource of a kind: group, version and plural.

use std::sync::Arc;

use dask_operator_core::gate::kinds::{NoChild, child_kind};
use dask_operator_core::names::DASK_API_VERSION;
use dask_operator_core::parent::DaskKind;
use dask_operator_core::plan::{NoKind, ResourceKind};
use kube::api::{ApiResource, GroupVersionKind};

/// API resource of a kind that the operator watches or writes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ResourceType {
    /// `apiVersion` and `kind`, as in a manifest.
    pub(crate) resource: ResourceKind,
    /// Plural as in paths, `daskclusters`.
    pub(crate) plural: String,
}

impl ResourceType {
    /// Returns a Kubernetes kind with the plural that follows from the rules of English.
    #[must_use]
    pub(crate) fn of(resource: ResourceKind) -> Self {
        let (group, version) = group_version(&resource.api_version);
        let plural = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &resource.kind)).plural;
        Self { resource, plural }
    }

    /// Returns a Dask kind.
    #[must_use]
    pub(crate) fn dask(kind: DaskKind) -> Self {
        let resource = ResourceKind::new(DASK_API_VERSION, kind.kind());
        Self {
            resource,
            plural: kind.plural().to_owned(),
        }
    }

    /// Parses `v1/ConfigMap`, `cert-manager.io/v1/Certificate` or `example.org/v1/Ox=oxen`, for a kind that children may have.
    ///
    /// # Errors
    ///
    /// Returns an error if the text has another form, or if the kind grants permissions or holds secrets.
    pub(crate) fn of_child(text: &str) -> Result<Self, NoChild> {
        let Some((name, plural)) = text.split_once('=') else {
            return child_kind(text).map(Self::of);
        };
        if plural.is_empty() {
            return Err(NoKind::new(text).into());
        }
        Ok(Self {
            plural: plural.to_owned(),
            ..Self::of(child_kind(name)?)
        })
    }

    /// Returns the kind of Dask resource; `None` for other kinds.
    #[must_use]
    pub(crate) fn as_dask(&self) -> Option<DaskKind> {
        DaskKind::from_kind(&self.resource.kind).filter(|_| self.resource.api_version == DASK_API_VERSION)
    }

    /// Returns whether every plan may depend on the objects of this kind. An operator that can't list such a kind makes
    /// no decisions.
    #[must_use]
    pub(crate) fn is_needed(&self) -> bool {
        let usual = self.resource.api_version == "v1" && matches!(&*self.resource.kind, "Pod" | "Service");
        usual || self.as_dask().is_some()
    }

    /// Returns the kind as the type of the client library.
    #[must_use]
    pub(crate) fn api_resource(&self) -> ApiResource {
        let (group, version) = group_version(&self.resource.api_version);
        ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version: self.resource.api_version.clone(),
            kind: self.resource.kind.clone(),
            plural: self.plural.clone(),
        }
    }

    /// Returns the path of the collection in a namespace.
    #[must_use]
    pub(crate) fn path(&self, namespace: &str) -> String {
        self.collection(Some(namespace))
    }

    /// Returns the path of the collection in a namespace; of a cluster-scoped kind if there is none.
    #[must_use]
    pub(crate) fn collection(&self, namespace: Option<&str>) -> String {
        let root = if self.resource.api_version.contains('/') {
            "apis"
        } else {
            "api"
        };
        let namespace = namespace.map_or(String::new(), |namespace| format!("namespaces/{namespace}/"));
        format!("/{root}/{}/{namespace}{}", self.resource.api_version, self.plural)
    }
}

fn group_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// Lookup of kinds by their names in manifests.
#[derive(Clone, Debug)]
pub(crate) struct ResourceTypes(Arc<[ResourceType]>);

impl ResourceTypes {
    /// Contains all Dask kinds and `others`.
    #[must_use]
    pub(crate) fn new(others: impl IntoIterator<Item = ResourceType>) -> Self {
        let mut kinds: Vec<_> = DaskKind::ALL.into_iter().map(ResourceType::dask).collect();
        for kind in others {
            if !kinds.iter().any(|known| known.resource == kind.resource) {
                kinds.push(kind);
            }
        }
        Self(kinds.into())
    }

    /// Returns the kind with this name in manifests.
    #[must_use]
    pub(crate) fn get(&self, resource: &ResourceKind) -> Option<&ResourceType> {
        self.0.iter().find(|kind| kind.resource == *resource)
    }

    /// Returns all kinds.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &ResourceType> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("v1/Pod", "/api/v1/namespaces/n/pods")]
    #[case(
        "networking.k8s.io/v1/Ingress",
        "/apis/networking.k8s.io/v1/namespaces/n/ingresses"
    )]
    #[case(
        "networking.k8s.io/v1/NetworkPolicy",
        "/apis/networking.k8s.io/v1/namespaces/n/networkpolicies"
    )]
    #[case(
        "policy/v1/PodDisruptionBudget",
        "/apis/policy/v1/namespaces/n/poddisruptionbudgets"
    )]
    #[case("example.org/v1/Ox=oxen", "/apis/example.org/v1/namespaces/n/oxen")]
    fn paths_of_collections(#[case] text: &str, #[case] path: &str) {
        assert_eq!(
            ResourceType::of_child(text).map(|kind| kind.path("n")),
            Ok(path.to_owned())
        );
    }

    #[rstest]
    #[case("Pod")]
    #[case("/Pod")]
    #[case("v1/")]
    #[case("v1/Pod=")]
    fn refuses_other_forms(#[case] text: &str) {
        assert_eq!(ResourceType::of_child(text), Err(NoKind::new(text).into()));
    }

    #[test]
    fn kinds_that_grant_rights_are_refused_for_children() {
        let certificate = ResourceType::of_child("cert-manager.io/v1/Certificate");
        assert_eq!(
            certificate,
            Ok(ResourceType::of(ResourceKind::new(
                "cert-manager.io/v1",
                "Certificate"
            )))
        );
        let secret = ResourceKind::new("v1", "Secret");
        assert_eq!(
            ResourceType::of_child("v1/Secret"),
            Err(NoChild::GivesRights(secret))
        );
        assert!(matches!(
            ResourceType::of_child("Secret"),
            Err(NoChild::NoKind(_))
        ));
    }

    #[rstest]
    #[case("v1/Pod", true)]
    #[case("v1/Service", true)]
    #[case("kubernetes.dask.org/v1/DaskJob", true)]
    #[case("apps/v1/Deployment", false)]
    #[case("serving.knative.dev/v1/Service", false)]
    fn pods_services_and_dask_kinds_are_needed(#[case] text: &str, #[case] needed: bool) {
        assert_eq!(
            ResourceType::of_child(text).map(|kind| kind.is_needed()),
            Ok(needed)
        );
    }

    #[test]
    fn dask_kinds_are_always_included() {
        let kinds = ResourceTypes::new([ResourceType::of(ResourceKind::new("v1", "Pod"))]);
        let group = kinds.get(&ResourceKind::new(DASK_API_VERSION, "DaskWorkerGroup"));
        assert_eq!(
            group.map(|kind| kind.path("n")),
            Some("/apis/kubernetes.dask.org/v1/namespaces/n/daskworkergroups".into())
        );
        assert_eq!(group.and_then(ResourceType::as_dask), Some(DaskKind::WorkerGroup));
        assert_eq!(kinds.iter().count(), 5);
    }
}
