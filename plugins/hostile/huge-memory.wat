;; Declares an initial memory of 1 GiB.
(memory (export "memory") 16384)
