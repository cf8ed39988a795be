//! What a plugin for the Dask operator is written with.
