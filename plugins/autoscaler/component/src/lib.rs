//! Component that exports the default autoscaler plugin, [`dask_operator_autoscaler`], to the operator.

dask_operator_plugin::export!(dask_operator_autoscaler::DefaultAutoscaler: autoscaler);
