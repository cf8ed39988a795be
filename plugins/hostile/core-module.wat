;; Is a core module instead of a component.
(module (func (export "plan")))
