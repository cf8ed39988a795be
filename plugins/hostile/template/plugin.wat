;; A cluster component without a fault, as a core module in the form that the
;; canonical ABI defines for `wit/`: a string or list is an address and a length,
;; and a large result is an address in memory.
;;
;; It plans one Service without any fields.
;;
;; Every function is exported under the name that the contract gives it, so that
;; other files can replace it.

(import "dask:operator/log@0.1.0" "log" (func $log (param $level i32) (param $text i32) (param $length i32)))

(memory (export "memory") 2)

;; Texts; the comments contain their addresses.
(data (i32.const 1024) "hostile")                  ;; 1024, 7 bytes
(data (i32.const 1040) "1.0.0")                    ;; 1040, 5 bytes
(data (i32.const 1056) "A component for tests.")   ;; 1056, 22 bytes
(data (i32.const 1088) "{}")                       ;; 1088, 2 bytes
(data (i32.const 1104) "v1")                       ;; 1104, 2 bytes
(data (i32.const 1120) "Service")                  ;; 1120, 7 bytes
(data (i32.const 1136) "child")                    ;; 1136, 5 bytes

;; The description: four texts.
(data (i32.const 2048)
  "\00\04\00\00\07\00\00\00" "\10\04\00\00\05\00\00\00" "\20\04\00\00\16\00\00\00" "\40\04\00\00\02\00\00\00")

;; A list of one kind, at 2112, and the kind, at 2120.
(data (i32.const 2112) "\48\08\00\00\01\00\00\00")
(data (i32.const 2120) "\50\04\00\00\02\00\00\00" "\60\04\00\00\07\00\00\00")

;; The description: four texts.

;; A successful plan, at 2240: the list of children (2248), the status (2256),
;; and nothing else up to 2432.
(data (i32.const 2240) "\00\00\00\00\00\00\00\00" "\00\0a\00\00\01\00\00\00" "\40\04\00\00\02\00\00\00")

;; The child, at 2560: its key, and `apply` with an empty object.
(data (i32.const 2560)
  "\50\04\00\00\02\00\00\00" "\60\04\00\00\07\00\00\00" "\70\04\00\00\05\00\00\00"
  "\02\00\00\00" "\40\04\00\00\02\00\00\00")

;; Address at which the host writes the next argument. Each call gets its own
;; instance, so memory is never freed.
(global $free (mut i32) (i32.const 65536))

(func $cabi_realloc (export "cabi_realloc")
  (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
  (local $start i32)
  (local.set $start
    (i32.and
      (i32.sub (i32.add (global.get $free) (local.get $align)) (i32.const 1))
      (i32.sub (i32.const 0) (local.get $align))))
  (global.set $free (i32.add (local.get $start) (local.get $size)))
  (block $enough
    (loop $more
      (br_if $enough
        (i32.le_u (global.get $free) (i32.mul (memory.size) (i32.const 65536))))
      (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))
      (unreachable)))
  (local.get $start))

(func (export "dask:operator/describe@0.1.0#describe") (result i32)
  (i32.const 2048))

(func (export "dask:operator/describe@0.1.0#validate-settings") (param i32 i32) (result i32)
  (i32.const 2176))

(func (export "dask:operator/cluster@0.1.0#child-kinds") (param i32 i32) (result i32)
  (i32.const 2112))

;; Returns the object unchanged: `ok` with the same text.
(func (export "dask:operator/cluster@0.1.0#default")
  (param $object i32) (param $length i32) (param i32 i32) (result i32)
  (i32.store (i32.const 2184) (i32.const 0))
  (i32.store (i32.const 2188) (local.get $object))
  (i32.store (i32.const 2192) (local.get $length))
  (i32.const 2184))

(func (export "dask:operator/cluster@0.1.0#validate") (param i32 i32 i32 i32 i32 i32 i32) (result i32)
  (i32.const 2176))

(func (export "dask:operator/cluster@0.1.0#plan") (param $observation i32) (result i32)
  (i32.const 2240))
