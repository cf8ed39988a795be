;; `describe` has a parameter that the contract does not have.
(component
  (core module $module
    (func (export "describe") (param i32)))
  (core instance $instance (instantiate $module))
  (func $describe (param "what" u32) (canon lift (core func $instance "describe")))
  (instance $describing (export "describe" (func $describe)))
  (instance $nothing)
  (export "dask:operator/describe@0.1.0" (instance $describing))
  (export "dask:operator/cluster@0.1.0" (instance $nothing)))
