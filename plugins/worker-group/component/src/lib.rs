//! Component that exports the default worker-group plugin, [`dask_operator_worker_group`], to the operator.

dask_operator_plugin::export!(dask_operator_worker_group::DefaultWorkerGroup: worker_group);
