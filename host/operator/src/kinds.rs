//! Where the API server keeps a kind: group, version, plural.

use std::sync::Arc;

use dask_operator_core::gate::kinds::gives_rights;
use dask_operator_core::names::DASK_API_VERSION;
use dask_operator_core::parent::DaskKind;
use dask_operator_core::plan::ResourceKind;
use kube::api::{ApiResource, GroupVersionKind};
use thiserror::Error;

/// A kind that the operator watches or writes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Kind {
    /// As in a manifest.
    pub resource: ResourceKind,
    /// As in paths, `daskclusters`.
    pub plural: String,
}

/// A text that names no kind.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "{0:?} names no kind: write API version and kind, as v1/ConfigMap or cert-manager.io/v1/Certificate, \
         and =PLURAL where the plural is irregular"
)]
pub struct NoKind(String);

/// A text that names no kind which children may have.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum NoChild {
    /// It names no kind at all.
    #[error(transparent)]
    NoKind(#[from] NoKind),
    /// Objects of this kind give rights or hold secrets.
    #[error(
        "{0} gives rights, holds secrets or says which code decides, and no component may create it: create it yourself"
    )]
    GivesRights(ResourceKind),
}

impl Kind {
    /// A Kubernetes kind, with the plural that the rules of English give it.
    #[must_use]
    pub fn of(resource: ResourceKind) -> Self {
        let (group, version) = group_version(&resource.api_version);
        let plural = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &resource.kind)).plural;
        Self { resource, plural }
    }

    /// A Dask kind.
    #[must_use]
    pub fn dask(kind: DaskKind) -> Self {
        let resource = ResourceKind::new(DASK_API_VERSION, kind.kind());
        Self {
            resource,
            plural: kind.plural().to_owned(),
        }
    }

    /// Reads `v1/ConfigMap`, `cert-manager.io/v1/Certificate` or
    /// `example.org/v1/Ox=oxen`.
    ///
    /// # Errors
    ///
    /// When the text has another form.
    pub fn parse(text: &str) -> Result<Self, NoKind> {
        let (name, plural) = text
            .split_once('=')
            .map_or((text, None), |(name, plural)| (name, Some(plural)));
        let (api_version, kind) = name.rsplit_once('/').ok_or_else(|| NoKind(text.to_owned()))?;
        if api_version.is_empty() || kind.is_empty() || plural.is_some_and(str::is_empty) {
            return Err(NoKind(text.to_owned()));
        }
        let kind = Self::of(ResourceKind::new(api_version, kind));
        Ok(match plural {
            Some(plural) => Self {
                plural: plural.to_owned(),
                ..kind
            },
            None => kind,
        })
    }

    /// Reads what [`Kind::parse`] does, of a kind that children may have.
    ///
    /// # Errors
    ///
    /// When the text has another form, or the kind gives rights or holds secrets.
    pub fn of_child(text: &str) -> Result<Self, NoChild> {
        let kind = Self::parse(text)?;
        if gives_rights(&kind.resource) {
            return Err(NoChild::GivesRights(kind.resource));
        }
        Ok(kind)
    }

    /// Which Dask resource it is, if any.
    #[must_use]
    pub fn as_dask(&self) -> Option<DaskKind> {
        DaskKind::from_kind(&self.resource.kind).filter(|_| self.resource.api_version == DASK_API_VERSION)
    }

    /// Whether plans of every kind may need to know what there is of it: an operator that can't list it decides nothing.
    #[must_use]
    pub fn is_needed(&self) -> bool {
        let usual = self.resource.api_version == "v1" && matches!(&*self.resource.kind, "Pod" | "Service");
        usual || self.as_dask().is_some()
    }

    /// For the client library.
    #[must_use]
    pub fn api_resource(&self) -> ApiResource {
        let (group, version) = group_version(&self.resource.api_version);
        ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version: self.resource.api_version.clone(),
            kind: self.resource.kind.clone(),
            plural: self.plural.clone(),
        }
    }

    /// The path of its collection in a namespace.
    #[must_use]
    pub fn path(&self, namespace: &str) -> String {
        let root = if self.resource.api_version.contains('/') {
            "apis"
        } else {
            "api"
        };
        format!(
            "/{root}/{}/namespaces/{namespace}/{}",
            self.resource.api_version, self.plural
        )
    }
}

fn group_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// Kinds of children that the administrator allows beyond the usual ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtraKinds {
    all: Arc<[ResourceKind]>,
    tenants: Arc<[ResourceKind]>,
}

impl ExtraKinds {
    /// `administrators` are allowed to components that administrators name, `tenants` to all components.
    #[must_use]
    pub fn new(administrators: &[Kind], tenants: &[Kind]) -> Self {
        let resource = |kind: &Kind| kind.resource.clone();
        Self {
            all: administrators.iter().chain(tenants).map(resource).collect(),
            tenants: tenants.iter().map(resource).collect(),
        }
    }

    /// Those that a component may have, by who named it.
    #[must_use]
    pub fn of(&self, is_of_tenant: bool) -> &[ResourceKind] {
        if is_of_tenant { &self.tenants } else { &self.all }
    }
}

/// Kinds by how manifests name them.
#[derive(Clone, Debug)]
pub struct Kinds(Arc<[Kind]>);

impl Kinds {
    /// All Dask kinds, and `others`.
    #[must_use]
    pub fn new(others: impl IntoIterator<Item = Kind>) -> Self {
        let mut kinds: Vec<_> = DaskKind::ALL.into_iter().map(Kind::dask).collect();
        for kind in others {
            if !kinds.iter().any(|known| known.resource == kind.resource) {
                kinds.push(kind);
            }
        }
        Self(kinds.into())
    }

    /// The kind that manifests name so.
    #[must_use]
    pub fn get(&self, resource: &ResourceKind) -> Option<&Kind> {
        self.0.iter().find(|kind| kind.resource == *resource)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Kind> {
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
    fn paths(#[case] text: &str, #[case] path: &str) {
        assert_eq!(Kind::parse(text).map(|kind| kind.path("n")), Ok(path.to_owned()));
    }

    #[rstest]
    #[case("Pod")]
    #[case("/Pod")]
    #[case("v1/")]
    #[case("v1/Pod=")]
    fn no_kinds(#[case] text: &str) {
        assert_eq!(Kind::parse(text), Err(NoKind(text.to_owned())));
    }

    #[test]
    fn what_gives_rights_is_no_child() {
        let certificate = Kind::of_child("cert-manager.io/v1/Certificate");
        assert_eq!(
            certificate,
            Ok(Kind::of(ResourceKind::new("cert-manager.io/v1", "Certificate")))
        );
        let secret = ResourceKind::new("v1", "Secret");
        assert_eq!(Kind::of_child("v1/Secret"), Err(NoChild::GivesRights(secret)));
        assert!(matches!(Kind::of_child("Secret"), Err(NoChild::NoKind(_))));
    }

    #[test]
    fn what_is_allowed_to_administrators_is_not_allowed_to_tenants() {
        let kind = |name: &str| Kind::of(ResourceKind::new("example.org/v1", name));
        let extra = ExtraKinds::new(&[kind("Gadget")], &[kind("Widget")]);
        let names = |is_of_tenant| {
            let kinds = extra.of(is_of_tenant).iter();
            kinds.map(|kind| kind.kind.clone()).collect::<Vec<_>>()
        };
        assert_eq!(
            (names(false), names(true)),
            (
                vec!["Gadget".to_owned(), "Widget".to_owned()],
                vec!["Widget".to_owned()]
            )
        );
        assert!(ExtraKinds::default().of(true).is_empty());
    }

    #[rstest]
    #[case("v1/Pod", true)]
    #[case("v1/Service", true)]
    #[case("kubernetes.dask.org/v1/DaskJob", true)]
    #[case("apps/v1/Deployment", false)]
    #[case("serving.knative.dev/v1/Service", false)]
    fn what_every_plan_needs(#[case] text: &str, #[case] needed: bool) {
        assert_eq!(Kind::parse(text).map(|kind| kind.is_needed()), Ok(needed));
    }

    #[test]
    fn dask_kinds_are_known() {
        let kinds = Kinds::new([Kind::of(ResourceKind::new("v1", "Pod"))]);
        let group = kinds.get(&ResourceKind::new(DASK_API_VERSION, "DaskWorkerGroup"));
        assert_eq!(
            group.map(|kind| kind.path("n")),
            Some("/apis/kubernetes.dask.org/v1/namespaces/n/daskworkergroups".into())
        );
        assert_eq!(group.and_then(Kind::as_dask), Some(DaskKind::WorkerGroup));
        assert_eq!(kinds.iter().count(), 5);
    }
}
