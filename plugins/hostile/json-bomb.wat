;; `default` returns 1.5 MiB of JSON, `{"a":[{"":0}, {"":0}, …]}`, which needs 130 MiB once it is parsed.
(func (export "dask:operator/cluster@0.1.0#default") (param i32 i32 i32 i32) (result i32)
  (local $at i32)
  (local.set $at (i32.const 131072))
  (if (i32.eq (memory.grow (i32.const 32)) (i32.const -1)) (then unreachable))
  (i64.store (local.get $at) (i64.const 0x20205B3A2261227B))      ;; `{"a":[  `
  (loop $more
    (local.set $at (i32.add (local.get $at) (i32.const 8)))
    (i64.store (local.get $at) (i64.const 0x202C7D303A22227B))    ;; `{"":0}, `
    (br_if $more (i32.lt_u (local.get $at) (i32.const 1703936))))
  (i64.store (i32.add (local.get $at) (i32.const 8)) (i64.const 0x7D5D7D303A22227B)) ;; `{"":0}]}`
  (i32.store (i32.const 2184) (i32.const 0))
  (i32.store (i32.const 2188) (i32.const 131072))
  (i32.store (i32.const 2192) (i32.sub (i32.add (local.get $at) (i32.const 16)) (i32.const 131072)))
  (i32.const 2184))
