;; Was built for another version of the contract.
(component
  (instance $nothing)
  (export "dask:operator/describe@0.2.0" (instance $nothing))
  (export "dask:operator/cluster@0.2.0" (instance $nothing)))
