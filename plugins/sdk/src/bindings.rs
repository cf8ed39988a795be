//! Bindings that `wit-bindgen` generates from the contract in `wit/`.
//!
//! Each interface has its own world here, so that a component exports only the interfaces that it implements. All worlds
//! share the types of [`host`]. Only the adapters that [`export!`](crate::export!) generates use this module; plugin
//! authors use the traits.
#![allow(unsafe_code, missing_docs, unreachable_pub, clippy::all)]

pub mod host {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "package dask:plugin; world host { import dask:operator/types@0.1.0; import dask:operator/log@0.1.0; }",
        world: "dask:plugin/host",
        generate_all,
        generate_unused_types: true,
        additional_derives: [Clone, PartialEq, serde::Serialize, serde::Deserialize],
    });
}

/// Generates the bindings of one interface, with a macro for its exports.
macro_rules! interface {
    ($module:ident, $world:literal, $inline:literal, $export:literal, $path:literal) => {
        pub mod $module {
            wit_bindgen::generate!({
                path: "../../wit",
                inline: $inline,
                world: $world,
                generate_all,
                with: { "dask:operator/types@0.1.0": crate::bindings::host::dask::operator::types },
                additional_derives: [Clone, PartialEq, serde::Serialize, serde::Deserialize],
                runtime_path: "::dask_operator_plugin::wit_bindgen::rt",
                pub_export_macro: true,
                export_macro_name: $export,
                default_bindings_module: $path,
            });
        }
    };
}

interface!(
    describe,
    "dask:plugin/describe",
    "package dask:plugin; world describe { export dask:operator/describe@0.1.0; }",
    "export_describe",
    "dask_operator_plugin::bindings::describe"
);
interface!(
    cluster,
    "dask:plugin/cluster",
    "package dask:plugin; world cluster { export dask:operator/cluster@0.1.0; }",
    "export_cluster",
    "dask_operator_plugin::bindings::cluster"
);
interface!(
    worker_group,
    "dask:plugin/worker-group",
    "package dask:plugin; world worker-group { export dask:operator/worker-group@0.1.0; }",
    "export_worker_group",
    "dask_operator_plugin::bindings::worker_group"
);
interface!(
    job,
    "dask:plugin/job",
    "package dask:plugin; world job { export dask:operator/job@0.1.0; }",
    "export_job",
    "dask_operator_plugin::bindings::job"
);
interface!(
    autoscaler,
    "dask:plugin/autoscaler",
    "package dask:plugin; world autoscaler { export dask:operator/autoscaler@0.1.0; }",
    "export_autoscaler",
    "dask_operator_plugin::bindings::autoscaler"
);
interface!(
    policy,
    "dask:plugin/policy",
    "package dask:plugin; world policy { export dask:operator/policy@0.1.0; }",
    "export_policy",
    "dask_operator_plugin::bindings::policy"
);
