//! Recorded children of manifests, compared natively and through WebAssembly.
//!
//! * `manifests/`: what people write; `rendered/`: what the operator makes of it on a cluster where nothing of it
//!   exists yet. A file `<name>.settings.yaml` beside a manifest has settings of the components.
//! * `observations/`: what exists, in whatever state; `plans/`: what shall be.
//!
//! `cargo test -p dask-operator-golden-tests` compares; with `UPDATE_GOLDEN=1` it records. Look at each line that
//! changes: these files are the operator's behaviour.

pub mod deciders;
pub mod files;
pub mod native;
pub mod observations;
