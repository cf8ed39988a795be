;; `validate` returns half a million findings, each without a field and a message.
(func (export "dask:operator/cluster@0.1.0#validate") (param i32 i32 i32 i32 i32 i32 i32) (result i32)
  (if (i32.eq (memory.grow (i32.const 160)) (i32.const -1)) (then unreachable))
  (i32.store (i32.const 2176) (i32.const 131072))
  (i32.store (i32.const 2180) (i32.const 500000))
  (i32.const 2176))
