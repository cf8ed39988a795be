//! Rights of plugins: limits and interfaces of DaskPlugins, whose authors have rights in one namespace only, and kinds of
//! children.

use std::time::Duration;

use dask_operator_core::gate::kinds::{allowed, gives_rights};
use dask_operator_core::parent::DaskKind;
use dask_operator_core::plan::ResourceKind;
use dask_operator_evaluator::AllowedKinds;
use dask_operator_evaluator::logic::{LogicPlugin, PluginOwner};
use dask_operator_runtime::{CallLimits, Interface};

use crate::client::resource::ResourceTypes;
use crate::plugins::error::{LoadFailure, LoadReason};
use crate::plugins::limits::bytes;
use crate::plugins::resource::Resource;
use crate::threads::fair_permits::call_time;

/// Number of plugins of a namespace that are loaded: the oldest ones.
pub(crate) const MAX_PLUGINS: usize = 20;

/// Rights of DaskPlugins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TenantRights {
    /// Interfaces that they may implement.
    pub(crate) interfaces: Vec<Interface>,
    /// Largest limits of their calls.
    pub(crate) limits: CallLimits,
}

impl Default for TenantRights {
    /// Policies only, which can do no more than tighten the decisions of others. Logic is not included: an administrator's
    /// policies see specs at admission, and the author of logic determines what becomes of a spec.
    fn default() -> Self {
        Self {
            interfaces: vec![Interface::Policy],
            limits: CallLimits {
                memory: 64 << 20,
                deadline: Duration::from_secs(1),
                output: 8 << 20,
                ..CallLimits::default()
            },
        }
    }
}

impl TenantRights {
    /// Returns the largest limits of this plugin's calls.
    pub(super) fn max_limits(&self, resource: &Resource) -> CallLimits {
        match resource.id.namespace {
            Some(_) => self.limits,
            None => CallLimits::default(),
        }
    }

    /// Returns an error if the plugin may not implement one of these interfaces.
    pub(super) fn check(&self, resource: &Resource, wanted: &[Interface]) -> Result<(), LoadFailure> {
        let forbidden = wanted
            .iter()
            .find(|interface| !self.interfaces.contains(interface));
        let Some(forbidden) = forbidden.filter(|_| resource.id.namespace.is_some()) else {
            return Ok(());
        };
        let names: Vec<_> = self.interfaces.iter().map(|interface| interface.name()).collect();
        let may = if names.is_empty() {
            "nothing".to_owned()
        } else {
            names.join(", ")
        };
        Err(LoadFailure::new(
            LoadReason::InterfaceNotAllowed,
            format!(
                "spec.interfaces: a DaskPlugin may not stand for {} here, but for {may} (--allow-tenant-interfaces): name \
                 what it may, or have an administrator install it as a ClusterDaskPlugin",
                forbidden.name()
            ),
        ))
    }
}

/// Returns an error if the plugin declares children of a kind that it may not have.
pub(super) fn check_kinds(
    plugin: &LogicPlugin,
    kind: DaskKind,
    allowed_kinds: &AllowedKinds,
    watched: &ResourceTypes,
) -> Result<(), LoadFailure> {
    let may_have = allowed(kind, allowed_kinds.of(plugin.owner));
    let flag = if plugin.owner == PluginOwner::Tenant {
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
    Err(LoadFailure::new(LoadReason::KindNotAllowed, message))
}

/// Parses the limits of an administrator, `memory=64Mi,milliseconds=1000,output=8Mi`. Missing limits have their default, and no
/// limit exceeds the operator's own, or the time of all calls of tenants for one plan.
pub(super) fn parse_limits(text: &str) -> Result<CallLimits, String> {
    let most = CallLimits::default();
    let mut limits = TenantRights::default().limits;
    for part in text.split(',') {
        let invalid = || format!("{part:?}: write memory=64Mi, milliseconds=1000 or output=8Mi");
        let (name, value) = part.split_once('=').ok_or_else(invalid)?;
        match name {
            "memory" => limits.memory = bytes(value).ok_or_else(invalid)?.min(most.memory),
            "output" => limits.output = bytes(value).ok_or_else(invalid)?.min(most.output),
            "milliseconds" => {
                let milliseconds = value.parse::<u64>().ok().filter(|number| *number > 0);
                let deadline = Duration::from_millis(milliseconds.ok_or_else(invalid)?);
                limits.deadline = deadline.min(call_time(PluginOwner::Tenant));
            }
            _ => return Err(invalid()),
        }
    }
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::client::resource::ResourceType;
    use crate::plugins::testing::{self, Unused};

    fn of_namespace() -> Resource {
        testing::of_namespace(json!({"metadata": {"name": "p", "namespace": "n"}, "spec": {"source": {}}}))
    }

    fn of_cluster() -> Resource {
        testing::of_cluster(json!({"metadata": {"name": "p"}, "spec": {"source": {}}}))
    }

    #[test]
    fn tenants_may_implement_policies_but_no_logic() {
        let rights = TenantRights::default();
        assert_eq!(rights.check(&of_namespace(), &[Interface::Policy]), Ok(()));
        assert_eq!(rights.check(&of_cluster(), &Interface::ALL), Ok(()));
        let said = rights.check(&of_namespace(), &[Interface::Policy, Interface::Job]);
        assert_eq!(
            said.map_err(|failure| (failure.reason, failure.reason.forbids())),
            Err((LoadReason::InterfaceNotAllowed, true))
        );
        let all = TenantRights {
            interfaces: Interface::ALL.to_vec(),
            ..rights
        };
        assert_eq!(all.check(&of_namespace(), &Interface::ALL), Ok(()));
    }

    #[test]
    fn tenants_have_lower_limits() {
        let rights = TenantRights::default();
        assert_eq!(rights.max_limits(&of_namespace()), rights.limits);
        assert_eq!(rights.max_limits(&of_cluster()), CallLimits::default());
    }

    #[rstest]
    #[case::one("milliseconds=250", Some((64, 250, 8)))]
    #[case::all("memory=128Mi,milliseconds=2000,output=16Mi", Some((128, 2000, 16)))]
    #[case::beyond("memory=1Ti,milliseconds=99999,output=1Ti", Some((256, 2000, 64)))]
    #[case::nonsense("memory=much", None)]
    #[case::nothing("milliseconds=0", None)]
    #[case::unknown("fuel=1", None)]
    fn parses_limits_of_tenants(#[case] text: &str, #[case] expected: Option<(usize, u128, usize)>) {
        let limits = parse_limits(text).ok();
        let numbers = |limits: CallLimits| {
            (
                limits.memory >> 20,
                limits.deadline.as_millis(),
                limits.output >> 20,
            )
        };
        assert_eq!(limits.map(numbers), expected);
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
    #[case::not_allowed(
        "example.org/v1",
        "Widget",
        false,
        Some("--allow-child example.org/v1/Widget")
    )]
    #[case::gives_rights("v1", "Secret", false, Some("which no component may create"))]
    fn a_plugin_may_only_declare_allowed_children(
        #[case] api_version: &str,
        #[case] kind: &str,
        #[case] is_of_tenant: bool,
        #[case] expected: Option<&str>,
    ) {
        let gadget = ResourceType::of(ResourceKind::new("example.org/v1", "Gadget"));
        let usual = ResourceType::of(ResourceKind::new("v1", "ConfigMap"));
        let allowed = AllowedKinds::new(std::slice::from_ref(&gadget.resource), &[]);
        let watched = ResourceTypes::new([gadget, usual]);
        let plugin = LogicPlugin {
            title: "mine".into(),
            settings: "{}".into(),
            child_kinds: vec![ResourceKind::new(api_version, kind)],
            owner: if is_of_tenant {
                PluginOwner::Tenant
            } else {
                PluginOwner::Administrator
            },
            logic: Arc::new(Unused),
        };
        let checked = check_kinds(&plugin, DaskKind::Cluster, &allowed, &watched);
        match (checked, expected) {
            (Ok(()), None) => {}
            (Err(failure), Some(expected)) => {
                assert_eq!(failure.reason, LoadReason::KindNotAllowed);
                assert!(failure.message.contains(expected), "{}", failure.message);
            }
            (checked, _) => panic!("{checked:?}"),
        }
    }
}
