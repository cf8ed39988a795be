//! The default cluster component: scheduler, Service and default worker group.
