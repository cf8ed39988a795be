//! Conventions of Kubernetes that the operator and its plugins share, so that both decide alike.
//!
//! - [`names`]: labels, annotations and other names in objects;
//! - [`labels`]: the syntax of label and annotation keys, and of label values;
//! - [`rfc1123`]: the syntax of object names;
//! - [`quantity`]: quantities such as `500m` and `4Gi`.
//!
//! The crate has no dependencies. The SDK for plugins is vendored together with it.

pub mod labels;
pub mod names;
pub mod quantity;
pub mod rfc1123;
