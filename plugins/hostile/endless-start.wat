;; The start function never returns.
(func $start (loop $again (br $again)))
(start $start)
