;; Imports the environment of the host.
(component
  (import "wasi:cli/environment@0.2.3" (instance
    (export "get-environment" (func (result (list (tuple string string)))))))
  (instance $nothing)
  (export "dask:operator/describe@0.1.0" (instance $nothing))
  (export "dask:operator/cluster@0.1.0" (instance $nothing)))
