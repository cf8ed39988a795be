//! The default job component: the job's cluster and its runner pod.
