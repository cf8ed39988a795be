;; Allocates memory in steps of 1 MiB and writes to all of it.
(func (export "dask:operator/cluster@0.1.0#plan") (param i32) (result i32)
  (local $start i32)
  (loop $again
    (local.set $start (i32.mul (memory.size) (i32.const 65536)))
    (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable))
    (memory.fill (local.get $start) (i32.const 1) (i32.const 1048576))
    (br $again))
  (unreachable))
