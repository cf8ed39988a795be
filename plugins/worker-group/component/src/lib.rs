//! The default worker-group component: [`dask_operator_worker_group`], callable by the operator.

dask_operator_plugin::export!(dask_operator_worker_group::DefaultWorkerGroup: worker_group);
