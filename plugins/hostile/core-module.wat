;; Is no component.
(module (func (export "plan")))
