;; Consists of three parts with a memory each: more than a place of the host's pool has room for.
(component
  (core module $part (memory 1))
  (core instance (instantiate $part))
  (core instance (instantiate $part))
  (core instance (instantiate $part))
  (instance $empty)
  (export "dask:operator/cluster@0.1.0" (instance $empty)))
