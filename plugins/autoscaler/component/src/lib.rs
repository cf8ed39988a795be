//! The default autoscaler component: [`dask_operator_autoscaler`], callable by the operator.

dask_operator_plugin::export!(dask_operator_autoscaler::DefaultAutoscaler: autoscaler);
