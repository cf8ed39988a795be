//! Golden files of rendered manifests and plans, compared with the native code and the WebAssembly components.
//!
//! * `manifests/` has manifests as users write them. `rendered/` has the objects that the operator creates for them on a
//!   cluster where none of them exists yet. A file `<name>.settings.yaml` next to a manifest has settings of the components.
//! * `observations/` has existing objects in various states. `plans/` has the plans for them.
//! * `docs/reference/conditions.md` has the conditions of all resources, with their reasons.
//!
//! `cargo test -p dask-operator-golden-tests` compares the files; `UPDATE_GOLDEN=1` records them. Review each changed line,
//! because these files define the operator's behaviour.

pub mod conditions;
pub mod files;
pub mod logics;
pub mod native;
pub mod observations;
