;; Does not export `describe`.
(component
  (instance $nothing)
  (export "dask:operator/cluster@0.1.0" (instance $nothing)))
