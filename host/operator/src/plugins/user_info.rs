//! User information for policies of tenants: the name and the groups of the user or account, and nothing else that is known
//! about them.

use dask_operator_evaluator::logic::PluginFailure;
use dask_operator_evaluator::policy::PolicyInterface;
use dask_operator_runtime::contract::{AdmissionRequest, AdmissionResponse, Review, ReviewRequest};
use serde::{Deserialize, Serialize};

/// Policy that receives only the name and groups of the user.
pub(super) struct NamesOnly<T> {
    /// The policy.
    pub(super) inner: T,
}

impl<T: PolicyInterface> PolicyInterface for NamesOnly<T> {
    fn admit(&self, request: &AdmissionRequest) -> Result<Result<AdmissionResponse, String>, PluginFailure> {
        self.inner.admit(&AdmissionRequest {
            user_info: reduced(&request.user_info),
            ..request.clone()
        })
    }

    fn review_plan(&self, request: &ReviewRequest) -> Result<Result<Review, String>, PluginFailure> {
        self.inner.review_plan(request)
    }
}

/// Reduces user information, a JSON object, to what tenants may know.
fn reduced(user_info: &str) -> String {
    #[derive(Default, Deserialize, Serialize)]
    #[serde(default)]
    struct VisibleUser {
        username: String,
        groups: Vec<String>,
    }
    let visible: VisibleUser = serde_json::from_str(user_info).unwrap_or_default();
    serde_json::to_string(&visible).unwrap_or_else(|_| "{}".to_owned())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::user(
        r#"{"username": "ann", "uid": "7", "groups": ["a", "b"], "extra": {"token": ["secret"]}}"#,
        r#"{"username":"ann","groups":["a","b"]}"#
    )]
    #[case::empty("{}", r#"{"username":"","groups":[]}"#)]
    #[case::garbage("[1]", r#"{"username":"","groups":[]}"#)]
    fn keeps_only_the_name_and_groups(#[case] user_info: &str, #[case] expected: &str) {
        assert_eq!(reduced(user_info), expected);
    }
}
