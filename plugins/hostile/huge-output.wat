;; Returns a status of 128 MiB.
(func (export "dask:operator/cluster@0.1.0#plan") (param i32) (result i32)
  (if (i32.eq (memory.grow (i32.const 2050)) (i32.const -1)) (then unreachable))
  (i32.store (i32.const 2256) (i32.const 65536))
  (i32.store (i32.const 2260) (i32.const 134217728))
  (i32.const 2240))
