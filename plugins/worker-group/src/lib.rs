//! The default worker-group component: the workers.
