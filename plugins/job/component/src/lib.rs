//! Component that exports the default job plugin, [`dask_operator_job`], to the operator.

dask_operator_plugin::export!(dask_operator_job::DefaultJob: job);
