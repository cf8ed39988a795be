//! The default cluster component: [`dask_operator_cluster`], callable by the operator.

dask_operator_plugin::export!(dask_operator_cluster::DefaultCluster: cluster);
