//! Makes a plugin ready from its bytes: look at what it may be, compile, check, try.

use std::collections::BTreeMap;
use std::sync::Arc;

use dask_operator_api::{OnFailure, PluginMode};
use dask_operator_core::gate::kinds::{allowed, gives_rights};
use dask_operator_core::parent::DaskKind;
use dask_operator_core::plan::ResourceKind;
use dask_operator_render::findings::sentences;
use dask_operator_render::logic::{ComponentLogic, interface};
use dask_operator_render::policy::{Mode, Policy, Rules, title};
use dask_operator_runtime::{Compiling, Component, Engine, Interface, LoadError};
use tokio::sync::mpsc::UnboundedSender;

use super::entry::Loaded;
use super::failure::LoadFailure;
use super::guard::{Guard, News, Term};
use super::guarded::Guarded;
use super::limits::limits;
use super::own_time::OwnTime;
use super::resource::Resource;
use super::rights::TenantRights;
use super::user_info::NamesOnly;
use super::{Entry, Plugin, Whose, sample};
use crate::kinds::{ExtraKinds, Kinds};

/// A plugin that can be in force.
#[derive(Clone)]
pub(super) struct Good {
    /// What the catalog gets.
    pub(super) entry: Entry,
    /// The component's own name.
    pub(super) name: String,
    /// Its version.
    pub(super) version: String,
    /// The digest of its bytes, `sha256:…`.
    pub(super) digest: String,
    /// Where its bytes came from, as far as it is known.
    pub(super) image_digest: Option<String>,
    /// The interfaces that are used.
    pub(super) interfaces: Vec<&'static str>,
    /// The resource that asked for it, as it was then.
    pub(super) asked: Resource,
}

impl Good {
    /// What tells it from what else was in force: the digest, and the generation that asked for it.
    pub(super) fn mark(&self) -> (String, i64) {
        (self.digest.clone(), self.asked.generation)
    }

    /// What it is called in messages.
    pub(super) fn title(&self) -> String {
        let digits = self.digest.trim_start_matches("sha256:");
        format!(
            "{} {} ({})",
            self.name,
            self.version,
            digits.get(..12).unwrap_or(digits)
        )
    }
}

/// What making a plugin ready takes.
#[derive(Clone)]
pub(super) struct Workshop {
    pub(super) engine: Engine,
    /// Kinds that are watched.
    pub(super) watched: Kinds,
    /// Kinds of children that the administrator allows beyond the usual.
    pub(super) extra: ExtraKinds,
    /// What plugins of namespaces may.
    pub(super) rights: TenantRights,
    /// Who wants to hear of plugins that fail again and again.
    pub(super) news: UnboundedSender<News>,
}

impl Workshop {
    /// Checks that the bytes are what `resource` wants and may have, compiles them, and tries them on a sample. Blocks.
    pub(super) fn prepare(
        &self,
        resource: &Resource,
        bytes: &[u8],
        image_digest: Option<String>,
    ) -> Result<Good, LoadFailure> {
        let limits = limits(resource.spec.limits.as_ref(), &self.rights.most(resource))?;
        let compiling = match &resource.id.namespace {
            Some(namespace) => Compiling::of_tenant(namespace),
            None => Compiling::default(),
        };
        let origin = resource.id.to_string();
        let unfit = |error: LoadError| LoadFailure::new(error.reason.reason(), error.to_string());
        let has = Component::interfaces_of(&origin, bytes).map_err(unfit)?;
        let interfaces = wanted(resource, "the component", &has)?;
        self.rights.check(resource, &interfaces)?;
        let component = Component::load_compiled(&self.engine, &origin, bytes, limits, &compiling);
        let component = component.map_err(unfit)?;
        let settings = resource.settings();
        let findings = component
            .validate_settings(&settings)
            .map_err(|error| LoadFailure::new(error.failure.reason(), error.to_string()))?;
        if !findings.is_empty() {
            return Err(LoadFailure::new(
                "SettingsRefused",
                format!(
                    "spec.settings: {} refuses them: {}",
                    title(&component),
                    sentences(&findings)
                ),
            ));
        }
        let digest = component.digest().to_string();
        let term = term(resource, interfaces.contains(&Interface::Policy));
        let guard = Guard::new(resource.id.clone(), digest.clone(), term, self.news.clone());
        let title = format!("{} of {}", title(&component), resource.id);
        let mut entry = Entry {
            id: resource.id.clone(),
            scope: resource.scope.clone(),
            order: resource.spec.order,
            logic: BTreeMap::new(),
            policy: None,
            loaded: Some(Loaded {
                component: component.clone(),
                source: resource.spec.source.clone(),
            }),
        };
        for kind in DaskKind::ALL {
            let interface = interface(kind);
            if interfaces.contains(&interface) {
                let plugin = self.logic(resource, &component, interface, kind, &title, &guard)?;
                entry.logic.insert(kind, Ok(Arc::new(plugin)));
            }
        }
        if interfaces.contains(&Interface::Policy) {
            let inner = Guarded {
                inner: component.clone(),
                guard: guard.clone(),
            };
            let rules: Box<dyn Rules> = match resource.id.namespace {
                Some(_) => Box::new(OwnTime {
                    inner: NamesOnly { inner },
                }),
                None => Box::new(inner),
            };
            let policy = Arc::new(Policy {
                title: title.clone(),
                settings: settings.clone(),
                mode: match resource.spec.mode {
                    PluginMode::Protect => Mode::Protect,
                    PluginMode::Monitor => Mode::Monitor,
                },
                rules,
            });
            sample::try_policy(&policy)?;
            entry.policy = Some(Ok(policy));
        }
        guard.begin();
        Ok(Good {
            entry,
            name: component.name().to_owned(),
            version: component.description().version.clone(),
            digest,
            image_digest,
            interfaces: interfaces.into_iter().map(Interface::name).collect(),
            asked: resource.clone(),
        })
    }

    fn logic(
        &self,
        resource: &Resource,
        component: &Component,
        interface: Interface,
        kind: DaskKind,
        title: &str,
        guard: &Arc<Guard>,
    ) -> Result<Plugin, LoadFailure> {
        let inner = ComponentLogic {
            component: component.clone(),
            interface,
        };
        let guarded = Guarded {
            inner,
            guard: guard.clone(),
        };
        let mut plugin = Plugin::new(title.to_owned(), resource.settings(), Box::new(guarded))
            .map_err(|error| LoadFailure::new(error.reason, error.to_string()))?;
        if resource.id.namespace.is_some() {
            plugin.whose = Whose::Tenants;
        }
        let extra = self.extra.of(plugin.is_of_tenant());
        check_kinds(&plugin, kind, extra, &self.watched)?;
        sample::try_logic(&plugin, kind, extra)?;
        Ok(plugin)
    }
}

/// Whether a plugin may have the children that it declares.
fn check_kinds(
    plugin: &Plugin,
    kind: DaskKind,
    extra: &[ResourceKind],
    watched: &Kinds,
) -> Result<(), LoadFailure> {
    let may_have = allowed(kind, extra);
    let flag = if plugin.is_of_tenant() {
        "--allow-tenant-child"
    } else {
        "--allow-child"
    };
    let is_fit = |child: &&ResourceKind| may_have.contains(child) && watched.get(child).is_some();
    let Some(child) = plugin.child_kinds.iter().find(|child| !is_fit(child)) else {
        return Ok(());
    };
    let how = if gives_rights(child) {
        "which no component may create: let it declare other kinds".to_owned()
    } else {
        format!(
            "which it may not create: let it declare other kinds, or have the operator started with {flag} {}/{}",
            child.api_version, child.kind
        )
    };
    let message = format!("{} wants children of the kind {child}, {how}", plugin.title);
    Err(LoadFailure::new("KindNotAllowed", message))
}

/// The interfaces that the resource wants of a component, which is called so and has these.
pub(super) fn wanted(
    resource: &Resource,
    title: &str,
    has: &[Interface],
) -> Result<Vec<Interface>, LoadFailure> {
    let Some(wanted) = &resource.spec.interfaces else {
        return Ok(has.to_vec());
    };
    let find = |name: &str| {
        let missing = || {
            let names: Vec<_> = has.iter().map(|interface| interface.name()).collect();
            let text = format!(
                "spec.interfaces: {title} has no {name}; it has {}",
                names.join(", ")
            );
            LoadFailure::new("InterfaceMissing", text)
        };
        let found = Interface::from_name(name).filter(|interface| has.contains(interface));
        found.ok_or_else(missing)
    };
    wanted.iter().map(|interface| find(interface.name())).collect()
}

/// What becomes of a plugin that fails again and again.
fn term(resource: &Resource, is_policy: bool) -> Term {
    let protects = is_policy && resource.spec.mode == PluginMode::Protect;
    let usual = if protects {
        OnFailure::Hold
    } else {
        OnFailure::LastGood
    };
    match (resource.spec.on_failure.unwrap_or(usual), &resource.id.namespace) {
        (OnFailure::Hold, _) => Term::Hold,
        (OnFailure::LastGood, Some(_)) => Term::Objects,
        (OnFailure::LastGood, None) => Term::Namespaces,
    }
}

#[cfg(test)]
mod tests {
    use dask_operator_api::DaskPlugin;
    use dask_operator_render::logic::{Failure, Logic};
    use dask_operator_runtime::EngineConfig;
    use dask_operator_runtime::contract::{self, Answer, Finding, Observation, Plan};
    use rstest::rstest;
    use serde_json::{Value, json};
    use tokio::sync::mpsc;

    use super::*;
    use crate::kinds::Kind;

    /// Logic that nobody asks.
    struct Nobody;

    impl Logic for Nobody {
        fn child_kinds(&self, _: &str) -> Result<Vec<contract::ResourceKind>, Failure> {
            Err("not asked".into())
        }

        fn default(&self, _: &str, _: &str) -> Result<Answer<String>, Failure> {
            Err("not asked".into())
        }

        fn validate(&self, _: &str, _: Option<&str>, _: &str) -> Result<Vec<Finding>, Failure> {
            Err("not asked".into())
        }

        fn plan(&self, _: &Observation) -> Result<Answer<Plan>, Failure> {
            Err("not asked".into())
        }
    }

    #[rstest]
    #[case::usual("v1", "ConfigMap", true, None)]
    #[case::of_an_administrator("example.org/v1", "Gadget", false, None)]
    #[case::of_a_tenant(
        "example.org/v1",
        "Gadget",
        true,
        Some("--allow-tenant-child example.org/v1/Gadget")
    )]
    #[case::of_nobody(
        "example.org/v1",
        "Widget",
        false,
        Some("--allow-child example.org/v1/Widget")
    )]
    #[case::gives_rights("v1", "Secret", false, Some("which no component may create"))]
    fn a_plugin_has_the_children_that_it_is_allowed(
        #[case] api_version: &str,
        #[case] kind: &str,
        #[case] is_of_tenant: bool,
        #[case] expected: Option<&str>,
    ) {
        let gadget = Kind::of(ResourceKind::new("example.org/v1", "Gadget"));
        let usual = Kind::of(ResourceKind::new("v1", "ConfigMap"));
        let extra = ExtraKinds::new(std::slice::from_ref(&gadget), &[]);
        let watched = Kinds::new([gadget, usual]);
        let plugin = Plugin {
            title: "mine".into(),
            settings: "{}".into(),
            child_kinds: vec![ResourceKind::new(api_version, kind)],
            whose: if is_of_tenant {
                Whose::Tenants
            } else {
                Whose::Operators
            },
            logic: Box::new(Nobody),
        };
        let checked = check_kinds(&plugin, DaskKind::Cluster, extra.of(is_of_tenant), &watched);
        match (checked, expected) {
            (Ok(()), None) => {}
            (Err(failure), Some(expected)) => {
                assert_eq!(failure.reason, "KindNotAllowed");
                assert!(failure.message.contains(expected), "{}", failure.message);
            }
            (checked, _) => panic!("{checked:?}"),
        }
    }

    /// Without a folder for the result, a tenant's component can't be compiled: what is refused otherwise was so before.
    #[rstest]
    #[case::forbidden(Value::Null, "InterfaceNotAllowed")]
    #[case::missing(json!(["policy"]), "InterfaceMissing")]
    #[case::allowed(json!(["worker-group"]), "HostExhausted")]
    fn what_a_tenant_may_not_have_is_not_compiled(#[case] interfaces: Value, #[case] reason: &str) {
        let mut rights = TenantRights::default();
        if interfaces == json!(["worker-group"]) {
            rights.interfaces = Interface::ALL.to_vec();
        }
        let workshop = Workshop {
            engine: Engine::new(EngineConfig::default()).unwrap_or_else(|error| panic!("{error}")),
            watched: Kinds::new([]),
            extra: ExtraKinds::default(),
            rights,
            news: mpsc::unbounded_channel().0,
        };
        let mut object = json!({"metadata": {"name": "p", "namespace": "n"}, "spec": {"source": {}}});
        if !interfaces.is_null() {
            object["spec"]["interfaces"] = interfaces;
        }
        let object: DaskPlugin = serde_json::from_value(object).unwrap_or_else(|error| panic!("{error}"));
        let bytes = dask_operator_components::WORKER_GROUP.bytes;
        let prepared = workshop.prepare(&Resource::of_namespace(object), bytes, None);
        assert_eq!(prepared.err().map(|failure| failure.reason), Some(reason));
    }

    #[rstest]
    #[case::policy("DaskPlugin", "protect", Value::Null, true, Term::Hold)]
    #[case::policy_of_the_cluster("ClusterDaskPlugin", "protect", Value::Null, true, Term::Hold)]
    #[case::only_monitors("ClusterDaskPlugin", "monitor", Value::Null, true, Term::Namespaces)]
    #[case::logic("ClusterDaskPlugin", "protect", Value::Null, false, Term::Namespaces)]
    #[case::logic_of_a_namespace("DaskPlugin", "protect", Value::Null, false, Term::Objects)]
    #[case::policy_that_may("ClusterDaskPlugin", "protect", json!("LastGood"), true, Term::Namespaces)]
    #[case::logic_that_may_not("DaskPlugin", "protect", json!("Hold"), false, Term::Hold)]
    fn policies_that_protect_hold(
        #[case] kind: &str,
        #[case] mode: &str,
        #[case] on_failure: Value,
        #[case] is_policy: bool,
        #[case] expected: Term,
    ) {
        let mut object = json!({"metadata": {"name": "p"}, "spec": {"source": {}, "mode": mode}});
        if !on_failure.is_null() {
            object["spec"]["onFailure"] = on_failure;
        }
        let resource = if kind == "DaskPlugin" {
            object["metadata"]["namespace"] = "n".into();
            serde_json::from_value(object).map(Resource::of_namespace)
        } else {
            serde_json::from_value(object).map(Resource::of_cluster)
        };
        let resource = resource.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(term(&resource, is_policy), expected);
    }
}
