# The check of plugins/examples/required-limits with its usual settings, for OPA: each container of a worker has a
# limit of memory.
package system

main := {
	"apiVersion": "admission.k8s.io/v1",
	"kind": "AdmissionReview",
	"response": response,
}

response := {"uid": input.request.uid, "allowed": true} if count(missing) == 0

response := {
	"uid": input.request.uid,
	"allowed": false,
	"status": {"message": concat("; ", missing), "reason": "Forbidden", "code": 403},
} if count(missing) > 0

missing contains message if {
	some containers in ["initContainers", "containers"]
	some i, container in input.request.object.spec.worker.spec[containers]
	not container.resources.limits.memory
	message := sprintf(
		"spec.worker.spec.%s[%d].resources.limits.memory: it is missing: write how much memory it may use",
		[containers, i],
	)
}
