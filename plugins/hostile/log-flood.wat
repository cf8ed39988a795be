;; Logs 100,000 lines and then returns a valid plan.
(data (i32.const 4096) "all work and no play")
(func (export "dask:operator/cluster@0.1.0#plan") (param i32) (result i32)
  (local $lines i32)
  (loop $again
    (call $log (i32.const 2) (i32.const 4096) (i32.const 20))
    (local.set $lines (i32.add (local.get $lines) (i32.const 1)))
    (br_if $again (i32.lt_u (local.get $lines) (i32.const 100000))))
  (i32.const 2240))
