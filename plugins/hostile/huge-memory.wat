;; Wants a gibibyte to begin with.
(memory (export "memory") 16384)
