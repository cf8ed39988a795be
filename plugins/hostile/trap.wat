;; Logs an error and traps, as a panic does.
(data (i32.const 4096) "panicked at src/lib.rs:7: no such thing")
(func (export "dask:operator/cluster@0.1.0#plan") (param i32) (result i32)
  (call $log (i32.const 4) (i32.const 4096) (i32.const 39))
  (call $give_up)
  (unreachable))
(func $give_up (unreachable))
