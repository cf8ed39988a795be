;; Returns two million children that all share the same few bytes: each object is
;; only `{}`, but the host would need much more memory for the list.
(func (export "dask:operator/cluster@0.1.0#plan") (param i32) (result i32)
  (local $at i32)
  (if (i32.eq (memory.grow (i32.const 1200)) (i32.const -1)) (then unreachable))
  (local.set $at (i32.const 65536))
  (loop $again
    (memory.copy (local.get $at) (i32.const 2560) (i32.const 36))
    (local.set $at (i32.add (local.get $at) (i32.const 36)))
    (br_if $again (i32.lt_u (local.get $at) (i32.const 72065536))))
  (i32.store (i32.const 2248) (i32.const 65536))
  (i32.store (i32.const 2252) (i32.const 2000000))
  (i32.const 2240))
