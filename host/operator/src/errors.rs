//! Errors of the API server, as what they mean.

use dask_operator_core::category::{ApiError, Cause, Retry};
use dask_operator_core::text::innermost;
use kube::core::Status;
use kube::runtime::watcher;
use thiserror::Error;

use crate::object::OwnerReference;

/// A request that changed nothing.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{what}: {message}")]
pub struct WriteError {
    /// What was to be done, as `create Pod a-scheduler`.
    pub what: String,
    /// What the error is about.
    pub cause: Cause,
    /// The API server's own words.
    pub message: String,
    /// How many seconds it asks to wait.
    pub retry_after: Option<u32>,
}

impl WriteError {
    /// What `error` of the client library means for `what`.
    #[must_use]
    pub fn new(what: String, error: &kube::Error) -> Self {
        let (cause, message, retry_after) = match error {
            kube::Error::Api(status) => {
                let seconds = status.details.as_ref().map(|details| details.retry_after_seconds);
                let error = ApiError {
                    code: status.code,
                    reason: status.reason.clone(),
                    message: status.message.clone(),
                    retry_after: seconds.filter(|seconds| *seconds > 0),
                };
                let cause = Cause::of(&error);
                let message = match cause {
                    Cause::KindNotServed => format!(
                        "the cluster has no such kind: install its definition, or a component that does without ({})",
                        error.message
                    ),
                    _ => error.message,
                };
                (cause, message, error.retry_after)
            }
            kube::Error::Auth(error) => (Cause::Unauthorized, error.to_string(), None),
            kube::Error::BuildRequest(error) => (Cause::Invalid, error.to_string(), None),
            error => (Cause::NoAnswer, innermost(error), None),
        };
        Self {
            what,
            cause,
            message,
            retry_after,
        }
    }

    /// No answer in time.
    #[must_use]
    pub fn timed_out(what: String, seconds: u64) -> Self {
        let message = format!("the API server did not answer in {seconds} s");
        Self {
            what,
            cause: Cause::NoAnswer,
            message,
            retry_after: None,
        }
    }

    /// It was not sent: another operator leads.
    #[must_use]
    pub fn not_leading(what: String) -> Self {
        Self {
            what,
            cause: Cause::NoAnswer,
            message: "this operator does not lead".into(),
            retry_after: None,
        }
    }

    /// It was not sent: what was decided on is no longer so.
    #[must_use]
    pub fn overtaken(what: String) -> Self {
        Self {
            what,
            cause: Cause::Stale,
            message: "it has changed since it was decided".into(),
            retry_after: None,
        }
    }

    /// It was not sent: an object of that name belongs to `owner`, and to apply over it would take it away.
    #[must_use]
    pub fn owned_by_another(what: String, owner: &OwnerReference) -> Self {
        let OwnerReference { kind, name, uid, .. } = owner;
        let message = format!(
            "it exists, and belongs to {kind} {name} of uid {uid}: it is waited for until that is gone, or delete it"
        );
        Self {
            what,
            cause: Cause::AlreadyExists,
            message,
            retry_after: None,
        }
    }

    /// It was not sent: an object of that name is not one that this operator or its predecessor has made.
    #[must_use]
    pub fn made_by_another(what: String) -> Self {
        Self {
            what,
            cause: Cause::Taken,
            message: "it exists, and this operator has not made it: delete or rename it, or give the Dask resource another name"
                .into(),
            retry_after: None,
        }
    }

    /// When to try again.
    #[must_use]
    pub fn retry(&self) -> Retry {
        self.cause.retry(self.retry_after)
    }
}

/// What the API server says, or what a failure goes back to. (The client library's own text has the whole answer in it, as
/// Rust writes it.)
#[must_use]
pub fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        error => innermost(error),
    }
}

/// What the API server answered to a watch; none where the watch broke otherwise.
#[must_use]
pub fn answered(error: &watcher::Error) -> Option<&Status> {
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
    fn the_servers_words_and_wait_are_kept() {
        let status = serde_json::json!({
            "status": "Failure", "reason": "TooManyRequests", "message": "slow down", "code": 429,
            "details": {"retryAfterSeconds": 7},
        });
        let status: Status = serde_json::from_value(status).unwrap_or_default();
        let error = WriteError::new("create Pod a".into(), &kube::Error::Api(status.boxed()));
        assert_eq!(error.to_string(), "create Pod a: slow down");
        assert_eq!(error.retry(), Retry::After(std::time::Duration::from_secs(7)));
    }

    #[test]
    fn a_kind_that_is_not_served_is_said() {
        let status = serde_json::json!({"status": "Failure", "message": "404 page not found", "code": 404});
        let status: Status = serde_json::from_value(status).unwrap_or_default();
        let error = WriteError::new("look for Certificate a".into(), &kube::Error::Api(status.boxed()));
        assert_eq!(error.cause, Cause::KindNotServed);
        assert_eq!(
            error.to_string(),
            "look for Certificate a: the cluster has no such kind: install its definition, or a component that does without \
             (404 page not found)"
        );
    }

    #[test]
    fn no_answer_names_the_root() {
        let io = std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "connection refused");
        let error = WriteError::new("x".into(), &kube::Error::Service(Box::new(io)));
        assert_eq!(
            (error.cause, error.message.as_str()),
            (Cause::NoAnswer, "connection refused")
        );
    }
}
