;; Calls itself something that can't stand in a name of Kubernetes.
(data (i32.const 1024) "Hostile")
