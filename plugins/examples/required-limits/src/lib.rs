//! Refuses workers without a memory limit: one of them can take a whole node down.
use dask_operator_plugin::prelude::*;

/// The policy.
#[derive(Debug)]
pub struct RequiredLimits;

impl Plugin for RequiredLimits {
    const NAME: &str = "required-limits";
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &str = "Refuses workers without a memory limit.";
    type Settings = NoSettings;
}

impl Policy for RequiredLimits {
    fn admit(request: &AdmissionRequest, _: &NoSettings) -> Result<AdmissionResponse, String> {
        let object = request.object_json()?;
        let limit = object.pointer("/spec/worker/spec/containers/0/resources/limits/memory");
        if request.operation == Operation::Delete
            || object.pointer("/spec/worker").is_none()
            || limit.is_some()
        {
            return Ok(AdmissionResponse::allow());
        }
        let field = "spec.worker.spec.containers[0].resources.limits.memory";
        Ok(AdmissionResponse::refuse(
            field,
            "it is missing: write how much memory a worker may use, as `memory: 4Gi`",
        ))
    }
}

export!(RequiredLimits: policy);
