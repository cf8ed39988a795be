//! The operator's pure logic. No I/O, no clock, no WebAssembly: everything that
//! a decision needs comes in as an argument, so that `render` and the operator
//! decide alike and every rule has a test that needs nothing.
//!
//! In the order in which a plan meets them:
//!
//! - [`parent`]: who the children belong to, read from a Dask resource;
//! - [`plan`]: what a component wants;
//! - [`gate`]: whether it may want that;
//! - [`finish`]: the objects that are sent;
//! - [`diff`]: whether sending one would change anything;
//! - [`memo`]: what the server made of what was sent, and how often;
//! - [`status`]: the parent's status and its conditions;
//! - [`category`] and [`backoff`]: what an error of the API server means, and
//!   how long to wait;
//! - [`text`] and [`json`]: texts from elsewhere cleaned and cut, what an error goes back to, and how much
//!   memory texts take.

pub mod backoff;
pub mod category;
pub mod diff;
pub mod draft;
pub mod finish;
pub mod gate;
pub mod json;
pub mod memo;
pub mod names;
pub mod parent;
pub mod plan;
pub mod predecessor;
pub mod quantity;
pub mod status;
pub mod text;
