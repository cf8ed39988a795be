;; Returns a status that is no valid UTF-8.
(data (i32.const 4096) "{\"phase\": \"\ff\fe\"}")
(func (export "dask:operator/cluster@0.1.0#plan") (param i32) (result i32)
  (i32.store (i32.const 2256) (i32.const 4096))
  (i32.store (i32.const 2260) (i32.const 15))
  (i32.const 2240))
