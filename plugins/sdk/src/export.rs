//! Adapter between the functions of the contract and the traits of a plugin.

use serde_json::Value;

use crate::bindings::{autoscaler, cluster, describe, job, policy, worker_group};
use crate::contract::{
    AdmissionRequest, AdmissionResponse, Description, Error, Finding, Observation, Plan, ResourceKind,
    Review, ReviewRequest, json_text,
};
use crate::plugin::{Autoscaler, Cluster, Job, Logic, Plugin, Policy, WorkerGroup};
use crate::{log, settings};

/// Exports a type as a component: `export!(Mine: policy)`, or `export!(Mine: cluster, worker_group, policy)`.
///
/// The type must implement [`Plugin`], and [`Logic`] or [`Policy`] for each listed interface. In a native build the macro expands
/// to nothing, so that the crate can be tested and used like any other.
#[macro_export]
macro_rules! export {
    ($plugin:ty: $($interface:ident),+ $(,)?) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type DaskOperatorPluginShell = $crate::export::Shell<$plugin>;
            $crate::bindings::describe::export_describe!(
                DaskOperatorPluginShell with_types_in $crate::bindings::describe
            );
            $($crate::__export_interface!(DaskOperatorPluginShell, $interface);)+
        };
    };
}

/// Generates the exports of one interface.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_interface {
    ($shell:ident, cluster) => {
        $crate::bindings::cluster::export_cluster!($shell with_types_in $crate::bindings::cluster);
    };
    ($shell:ident, worker_group) => {
        $crate::bindings::worker_group::export_worker_group!($shell with_types_in $crate::bindings::worker_group);
    };
    ($shell:ident, job) => {
        $crate::bindings::job::export_job!($shell with_types_in $crate::bindings::job);
    };
    ($shell:ident, autoscaler) => {
        $crate::bindings::autoscaler::export_autoscaler!($shell with_types_in $crate::bindings::autoscaler);
    };
    ($shell:ident, policy) => {
        $crate::bindings::policy::export_policy!($shell with_types_in $crate::bindings::policy);
    };
    ($shell:ident, $other:ident) => {
        compile_error!(concat!(
            "there is no interface `",
            stringify!($other),
            "`; there are cluster, worker_group, job, autoscaler and policy"
        ));
    };
}

/// Adapter that implements the contract's functions for a plugin. [`export!`](crate::export!) uses it; tests call it to see
/// the plugin as the host does.
#[derive(Debug)]
pub struct Shell<P>(std::marker::PhantomData<P>);

/// Prepares a call. On this target the message of a panic is lost unless a hook logs it.
fn prepare() {
    #[cfg(target_arch = "wasm32")]
    {
        static HOOK: std::sync::Once = std::sync::Once::new();
        HOOK.call_once(|| std::panic::set_hook(Box::new(|panic| log::error(panic.to_string()))));
    }
}

impl<P: Plugin> describe::exports::dask::operator::describe::Guest for Shell<P> {
    fn describe() -> Description {
        prepare();
        Description {
            name: P::NAME.to_owned(),
            version: P::VERSION.to_owned(),
            summary: P::SUMMARY.to_owned(),
            settings_schema: settings::schema::<P::Settings>(),
        }
    }

    fn validate_settings(settings: String) -> Vec<Finding> {
        prepare();
        match settings::check::<P::Settings>(&settings) {
            Ok(settings) => P::check_settings(&settings),
            Err(findings) => findings,
        }
    }
}

/// Implements `child-kinds`. The function can't report invalid settings; the host checks them before it calls it.
pub fn child_kinds<I, P: Logic<I>>(settings: &str) -> Vec<ResourceKind> {
    prepare();
    let settings = settings::read(settings).unwrap_or_else(|error| {
        log::error(error);
        P::Settings::default()
    });
    P::child_kinds(&settings)
}

/// Implements `default`.
///
/// # Errors
///
/// Returns an error if the object or the settings can't be parsed, or if the plugin returns one.
pub fn default<I, P: Logic<I>>(object: &str, settings: &str) -> Result<String, Error> {
    prepare();
    let settings = settings::read(settings).map_err(Error::Failed)?;
    Ok(json_text(&P::default(serde_json::from_str(object)?, &settings)?))
}

/// Implements `validate`.
pub fn validate<I, P: Logic<I>>(object: &str, old: Option<&str>, settings: &str) -> Vec<Finding> {
    prepare();
    let unreadable = |error| {
        vec![Finding::error(
            "",
            format!("the object could not be read: {error}"),
        )]
    };
    let object: Value = match serde_json::from_str(object) {
        Ok(object) => object,
        Err(error) => return unreadable(error),
    };
    let old: Option<Value> = match old.map(serde_json::from_str).transpose() {
        Ok(old) => old,
        Err(error) => return unreadable(error),
    };
    match settings::read(settings) {
        Ok(settings) => P::validate(&object, old.as_ref(), &settings),
        Err(error) => vec![Finding::error("", error)],
    }
}

/// Implements `plan`.
///
/// # Errors
///
/// Returns an error if the settings can't be parsed, or if the plugin returns one.
pub fn plan<I, P: Logic<I>>(observation: &Observation) -> Result<Plan, Error> {
    prepare();
    let settings = settings::read(&observation.settings).map_err(Error::Failed)?;
    P::plan(observation, &settings)
}

/// Implements one of the four logic interfaces, which have the same functions.
macro_rules! logic {
    ($interface:ty, $guest:path) => {
        impl<P: Logic<$interface>> $guest for Shell<P> {
            fn child_kinds(settings: String) -> Vec<ResourceKind> {
                child_kinds::<$interface, P>(&settings)
            }

            fn default(object: String, settings: String) -> Result<String, Error> {
                default::<$interface, P>(&object, &settings)
            }

            fn validate(object: String, old: Option<String>, settings: String) -> Vec<Finding> {
                validate::<$interface, P>(&object, old.as_deref(), &settings)
            }

            fn plan(observation: Observation) -> Result<Plan, Error> {
                plan::<$interface, P>(&observation)
            }
        }
    };
}

logic!(Cluster, cluster::exports::dask::operator::cluster::Guest);
logic!(
    WorkerGroup,
    worker_group::exports::dask::operator::worker_group::Guest
);
logic!(Job, job::exports::dask::operator::job::Guest);
logic!(Autoscaler, autoscaler::exports::dask::operator::autoscaler::Guest);

impl<P: Policy> policy::exports::dask::operator::policy::Guest for Shell<P> {
    fn admit(request: AdmissionRequest) -> Result<AdmissionResponse, String> {
        prepare();
        P::admit(&request, &settings::read(&request.settings)?)
    }

    fn review_plan(request: ReviewRequest) -> Result<Review, String> {
        prepare();
        P::review_plan(&request, &settings::read(&request.settings)?)
    }
}
