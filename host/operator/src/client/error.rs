//! Classification of the API server's errors.

use dask_operator_core::api_error::{ApiError, ErrorClass, RetryPolicy};
use dask_operator_core::text::innermost;
use kube::core::Status;
use kube::runtime::watcher;
use thiserror::Error;

use crate::client::object::OwnerReference;
use crate::key::ParentKey;

/// A failed write request, which changed nothing.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{what}: {message}")]
pub(crate) struct WriteError {
    /// Failed operation, as `create Pod a-scheduler`.
    pub(crate) what: String,
    /// Class of the error.
    pub(crate) class: ErrorClass,
    /// Message of the API server.
    pub(crate) message: String,
    /// Seconds that the API server requested to wait. `None` if it requested no wait.
    pub(crate) retry_after: Option<u32>,
}

impl WriteError {
    /// Classifies an `error` of the client library for the operation `what`.
    #[must_use]
    pub(crate) fn new(what: String, error: &kube::Error) -> Self {
        let (class, message, retry_after) = match error {
            kube::Error::Api(status) => {
                let seconds = status.details.as_ref().map(|details| details.retry_after_seconds);
                let error = ApiError {
                    code: status.code,
                    reason: status.reason.clone(),
                    message: status.message.clone(),
                    retry_after: seconds.filter(|seconds| *seconds > 0),
                };
                let class = ErrorClass::of(&error);
                let message = match class {
                    ErrorClass::KindNotServed => format!(
                        "the cluster has no such kind: install its definition, or a component that does without ({})",
                        error.message
                    ),
                    _ => error.message,
                };
                (class, message, error.retry_after)
            }
            kube::Error::Auth(error) => (ErrorClass::Unauthorized, error.to_string(), None),
            kube::Error::BuildRequest(error) => (ErrorClass::Invalid, error.to_string(), None),
            error => (ErrorClass::NoAnswer, innermost(error), None),
        };
        Self {
            what,
            class,
            message,
            retry_after,
        }
    }

    /// Returns the error of a request without an answer in time.
    #[must_use]
    pub(crate) fn timed_out(what: String, seconds: u64) -> Self {
        let message = format!("the API server did not answer in {seconds} s");
        Self {
            what,
            class: ErrorClass::NoAnswer,
            message,
            retry_after: None,
        }
    }

    /// Returns the error of a request that was not sent, because another replica leads.
    #[must_use]
    pub(crate) fn not_leading(what: String) -> Self {
        Self {
            what,
            class: ErrorClass::NoAnswer,
            message: "this replica is not the leader".into(),
            retry_after: None,
        }
    }

    /// Returns the error of a request that was not sent, because the state on which the decision was based has changed.
    #[must_use]
    pub(crate) fn overtaken(what: String) -> Self {
        Self {
            what,
            class: ErrorClass::Stale,
            message: "the object has changed since the decision".into(),
            retry_after: None,
        }
    }

    /// Returns the error of a request that was not sent, because the Dask resource that would become the owner of an
    /// object is gone or being deleted.
    #[must_use]
    pub(crate) fn owner_gone(what: String, owner: &ParentKey, uid: &str) -> Self {
        Self {
            what,
            class: ErrorClass::Stale,
            message: format!("{} {} of uid {uid} was deleted", owner.kind.kind(), owner.name),
            retry_after: None,
        }
    }

    /// Returns the error of a request that was not sent, because an object with that name belongs to `owner`, which
    /// would lose it to an apply.
    #[must_use]
    pub(crate) fn owned_by_another(what: String, owner: &OwnerReference) -> Self {
        let OwnerReference { kind, name, uid, .. } = owner;
        let message = format!(
            "it exists, and belongs to {kind} {name} of uid {uid}: it is waited for until that is gone, or delete it"
        );
        Self {
            what,
            class: ErrorClass::AlreadyExists,
            message,
            retry_after: None,
        }
    }

    /// Returns the error of a request that was not sent, because neither this operator nor its predecessor created the
    /// object with that name.
    #[must_use]
    pub(crate) fn made_by_another(what: String) -> Self {
        Self {
            what,
            class: ErrorClass::Taken,
            message: "it exists, and this operator has not made it: delete or rename it, or give the Dask resource another name"
                .into(),
            retry_after: None,
        }
    }

    /// Returns the time and manner of the retry.
    #[must_use]
    pub(crate) fn retry(&self) -> RetryPolicy {
        self.class.retry(self.retry_after)
    }
}

/// Returns the message of the API server, or the root cause of the failure. (The client library's own text contains the
/// whole answer in Rust's debug format.)
#[must_use]
pub(crate) fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        error => innermost(error),
    }
}

/// Returns the error of a watch: the message of the API server, if it has answered.
#[must_use]
pub(crate) fn watch_error_text(error: &watcher::Error) -> String {
    match answered(error) {
        Some(status) => status.message.clone(),
        None => innermost(error),
    }
}

/// Returns the API server's answer to a watch; `None` if the watch failed without one.
#[must_use]
pub(crate) fn answered(error: &watcher::Error) -> Option<&Status> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(&**status),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_and_wait_of_the_api_server_are_used() {
        let status = serde_json::json!({
            "status": "Failure", "reason": "TooManyRequests", "message": "slow down", "code": 429,
            "details": {"retryAfterSeconds": 7},
        });
        let status: Status = serde_json::from_value(status).unwrap_or_default();
        let error = WriteError::new("create Pod a".into(), &kube::Error::Api(status.boxed()));
        assert_eq!(error.to_string(), "create Pod a: slow down");
        assert_eq!(
            error.retry(),
            RetryPolicy::After(std::time::Duration::from_secs(7))
        );
    }

    #[test]
    fn a_kind_that_is_not_served_is_explained() {
        let status = serde_json::json!({"status": "Failure", "message": "404 page not found", "code": 404});
        let status: Status = serde_json::from_value(status).unwrap_or_default();
        let error = WriteError::new("look for Certificate a".into(), &kube::Error::Api(status.boxed()));
        assert_eq!(error.class, ErrorClass::KindNotServed);
        assert_eq!(
            error.to_string(),
            "look for Certificate a: the cluster has no such kind: install its definition, or a component that does without \
             (404 page not found)"
        );
    }

    #[test]
    fn a_missing_answer_is_explained_by_its_root_cause() {
        let io = std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "connection refused");
        let error = WriteError::new("x".into(), &kube::Error::Service(Box::new(io)));
        assert_eq!(
            (error.class, error.message.as_str()),
            (ErrorClass::NoAnswer, "connection refused")
        );
    }
}
