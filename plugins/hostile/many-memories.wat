;; Consists of three core instances with a memory each: more than a slot of the host's pool can contain.
(component
  (core module $part (memory 1))
  (core instance (instantiate $part))
  (core instance (instantiate $part))
  (core instance (instantiate $part))
  (instance $empty)
  (export "dask:operator/cluster@0.1.0" (instance $empty)))
