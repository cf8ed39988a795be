//! Lookup of a component's exported functions and comparison of their types with the contract.

use wasmtime::component::{ComponentExportIndex, InstancePre, Lift, Lower};

use crate::contract::{
    AdmissionRequest, AdmissionResponse, Error, Finding, Observation, Plan, RawDescription, ResourceKind,
    Review, ReviewRequest,
};
use crate::interface::qualified;
use crate::state::State;
use crate::{Interface, LoadErrorKind};

/// Indexes of a component's exported functions.
pub(super) struct Exports {
    pub(super) describe: ComponentExportIndex,
    pub(super) validate_settings: ComponentExportIndex,
    pub(super) logic: Vec<(Interface, LogicExports)>,
    pub(super) policy: Option<PolicyExports>,
}

/// Indexes of the functions of a logic interface.
pub(super) struct LogicExports {
    pub(super) child_kinds: ComponentExportIndex,
    pub(super) default: ComponentExportIndex,
    pub(super) validate: ComponentExportIndex,
    pub(super) plan: ComponentExportIndex,
}

/// Indexes of the functions of the policy interface.
pub(super) struct PolicyExports {
    pub(super) admit: ComponentExportIndex,
    pub(super) review_plan: ComponentExportIndex,
}

impl Exports {
    /// Finds the functions of these interfaces and compares their types with those of
    /// the contract.
    pub(super) fn find(pre: &InstancePre<State>, interfaces: &[Interface]) -> Result<Self, LoadErrorKind> {
        let finder = Finder { pre };
        let describe = finder.function::<(), (RawDescription,)>("describe", "describe")?;
        let validate_settings =
            finder.function::<(&str,), (Vec<Finding>,)>("describe", "validate-settings")?;
        let mut logic = Vec::new();
        let mut policy = None;
        for &interface in interfaces {
            match interface {
                Interface::Policy => policy = Some(PolicyExports::find(&finder)?),
                _ => logic.push((interface, LogicExports::find(&finder, interface.name())?)),
            }
        }
        Ok(Self {
            describe,
            validate_settings,
            logic,
            policy,
        })
    }
}

impl LogicExports {
    fn find(finder: &Finder<'_>, name: &str) -> Result<Self, LoadErrorKind> {
        Ok(Self {
            child_kinds: finder.function::<(&str,), (Vec<ResourceKind>,)>(name, "child-kinds")?,
            default: finder.function::<(&str, &str), (Result<String, Error>,)>(name, "default")?,
            validate: finder.function::<(&str, Option<&str>, &str), (Vec<Finding>,)>(name, "validate")?,
            plan: finder.function::<(&Observation,), (Result<Plan, Error>,)>(name, "plan")?,
        })
    }
}

impl PolicyExports {
    fn find(finder: &Finder<'_>) -> Result<Self, LoadErrorKind> {
        Ok(Self {
            admit: finder
                .function::<(&AdmissionRequest,), (Result<AdmissionResponse, String>,)>("policy", "admit")?,
            review_plan: finder
                .function::<(&ReviewRequest,), (Result<Review, String>,)>("policy", "review-plan")?,
        })
    }
}

/// Finder of exported functions.
struct Finder<'a> {
    pre: &'a InstancePre<State>,
}

impl Finder<'_> {
    fn function<P, R>(&self, interface: &str, name: &str) -> Result<ComponentExportIndex, LoadErrorKind>
    where
        P: wasmtime::component::ComponentNamedList + Lower,
        R: wasmtime::component::ComponentNamedList + Lift,
    {
        let mismatch = |problem: String| LoadErrorKind::Shape {
            function: format!("{interface}.{name}"),
            problem,
        };
        let component = self.pre.component();
        let instance = component
            .get_export_index(None, qualified(interface).as_str())
            .ok_or_else(|| mismatch(format!("the interface {} is missing", qualified(interface))))?;
        let (item, index) = component
            .get_export(Some(&instance), name)
            .ok_or_else(|| mismatch("the function is missing".to_owned()))?;
        match item {
            wasmtime::component::types::ComponentItem::ComponentFunc(function) => function
                .typecheck::<P, R>(&self.pre.instance_type())
                .map(|()| index)
                .map_err(|error| mismatch(format!("{error:#}"))),
            _ => Err(mismatch("it is not a function".to_owned())),
        }
    }
}
