//! The default job component: [`dask_operator_job`], callable by the operator.

dask_operator_plugin::export!(dask_operator_job::DefaultJob: job);
