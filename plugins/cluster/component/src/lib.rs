//! Component that exports the default cluster plugin, [`dask_operator_cluster`], to the operator.

dask_operator_plugin::export!(dask_operator_cluster::DefaultCluster: cluster);
