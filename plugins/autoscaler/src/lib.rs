//! The default autoscaler component.
