;; Has a name that is not valid in a Kubernetes name.
(data (i32.const 1024) "Hostile")
