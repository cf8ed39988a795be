;; Exports nothing that the operator knows.
(component
  (instance $nothing)
  (export "somebody:else/thing@1.0.0" (instance $nothing)))
