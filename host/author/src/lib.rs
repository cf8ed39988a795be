//! Tools for authors of plugins: `dask-operator plugin`.
