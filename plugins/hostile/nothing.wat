;; Exports no interface of the operator.
(component
  (instance $nothing)
  (export "somebody:else/thing@1.0.0" (instance $nothing)))
