;; Its settings' schema is no JSON.
(data (i32.const 1088) "{]")
