//! Classification of API server errors, and the time of the next attempt.

use std::time::Duration;

/// An error response of the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// HTTP status code.
    pub code: u16,
    /// `reason` of the response, such as `AlreadyExists`; may be empty.
    pub reason: String,
    /// `message` of the response, for users.
    pub message: String,
    /// Delay in seconds that the server requests (`details.retryAfterSeconds`), if any.
    pub retry_after: Option<u32>,
}

crate::reasons! {
    /// The class of an API server error.
    #[derive(Hash, PartialOrd, Ord)]
    pub enum ErrorClass {
        /// The object does not exist, or no longer exists. This is reported if it lasts.
        Gone => "NotFound",
        /// The API server does not serve this kind: its definition is not installed.
        KindNotServed => "KindNotServed",
        /// The object was changed or created again after the operator had read it. This is reported if it lasts.
        Stale => "Conflict",
        /// An object of that name exists already: rename or delete one of them. This is reported if it lasts.
        AlreadyExists => "AlreadyExists",
        /// An object of that name exists and belongs to another owner or field manager: rename or delete one of them.
        Taken => "Taken",
        /// The API server refuses the object as invalid. The phase is `Error` until you change the resource.
        Invalid => "Invalid",
        /// Another object has the node port or IP address that the object requests.
        InUse => "InUse",
        /// The quota of the namespace is used up.
        QuotaExceeded => "QuotaExceeded",
        /// The namespace is being deleted.
        NamespaceTerminating => "NamespaceTerminating",
        /// The operator or the object lacks a permission: ask an administrator to grant it.
        Forbidden => "Forbidden",
        /// The API server does not accept the operator's credentials.
        Unauthorized => "Unauthorized",
        /// The API server receives too many requests. This is reported if it lasts.
        Throttled => "TooManyRequests",
        /// The API server or a service that it depends on (a webhook, etcd) fails. This is reported if it lasts.
        Unavailable => "ServerError",
        /// The connection failed or the request timed out. This is reported if it lasts.
        NoAnswer => "NoAnswer",
    }
}

/// The time of the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryPolicy {
    /// As soon as the informer cache is up to date.
    Soon,
    /// After this delay.
    After(Duration),
    /// After a growing delay with a low maximum: the cause passes without a change to the object that was sent.
    Passing,
    /// After a growing delay.
    BackOff,
    /// On the next change of the parent, or after the maximum delay.
    OnChange,
}

/// Delay before the next attempt in a namespace that is being deleted. The API server creates no objects in it, and most
/// namespaces are gone sooner.
const NAMESPACE_TERMINATION_DELAY: Duration = Duration::from_secs(30);

impl ErrorClass {
    /// Returns the class of `error`.
    #[must_use]
    pub fn of(error: &ApiError) -> Self {
        let message_contains = |text: &str| error.message.contains(text);
        match (error.code, error.reason.as_str()) {
            (409, "AlreadyExists") => Self::AlreadyExists,
            (409, _) if error.message.starts_with("Apply failed with") => Self::Taken,
            (409, _) => Self::Stale,
            // The message about a missing object contains the object's name instead.
            (404, _)
                if message_contains("the server could not find the requested resource")
                    || message_contains("404 page not found") =>
            {
                Self::KindNotServed
            }
            (404 | 410, _) => Self::Gone,
            (403, _) if message_contains("exceeded quota") => Self::QuotaExceeded,
            (403, _) if message_contains("because it is being terminated") => Self::NamespaceTerminating,
            (403, _) => Self::Forbidden,
            (401, _) => Self::Unauthorized,
            (408 | 504, _) => Self::NoAnswer,
            (429, _) => Self::Throttled,
            (422, _)
                if message_contains("provided port is already allocated")
                    || message_contains("provided IP is already allocated") =>
            {
                Self::InUse
            }
            (400..=499, _) => Self::Invalid,
            // Server-side apply rejects a field that is not in the schema; another attempt does not help.
            (500, _) if message_contains("field not declared in schema") => Self::Invalid,
            _ => Self::Unavailable,
        }
    }

    /// Returns the time of the next attempt. `retry_after` is the delay in seconds that the server requested, if any.
    #[must_use]
    pub fn retry(self, retry_after: Option<u32>) -> RetryPolicy {
        match (self, retry_after) {
            (Self::Throttled | Self::Unavailable | Self::NoAnswer, Some(seconds)) => {
                RetryPolicy::After(Duration::from_secs(seconds.into()))
            }
            (Self::Gone | Self::Stale | Self::AlreadyExists, _) => RetryPolicy::Soon,
            (
                Self::Throttled | Self::Unavailable | Self::NoAnswer | Self::QuotaExceeded | Self::InUse,
                None,
            ) => RetryPolicy::Passing,
            (Self::Invalid, _) => RetryPolicy::OnChange,
            (Self::NamespaceTerminating, _) => RetryPolicy::After(NAMESPACE_TERMINATION_DELAY),
            _ => RetryPolicy::BackOff,
        }
    }

    /// Returns whether only a user or an administrator can remove the cause, so that it belongs in a condition.
    #[must_use]
    pub fn is_for_people(self) -> bool {
        matches!(
            self,
            Self::Invalid
                | Self::KindNotServed
                | Self::InUse
                | Self::Taken
                | Self::QuotaExceeded
                | Self::Forbidden
                | Self::Unauthorized
        )
    }

    /// Returns whether all other requests for the same kind in the same namespace would fail for this cause too, so that
    /// sending them is pointless for now.
    #[must_use]
    pub fn concerns_all(self) -> bool {
        matches!(
            self,
            Self::KindNotServed
                | Self::QuotaExceeded
                | Self::NamespaceTerminating
                | Self::Forbidden
                | Self::Unauthorized
                | Self::Throttled
                | Self::Unavailable
                | Self::NoAnswer
        )
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::conflict(
        409,
        "Conflict",
        "the object has been modified",
        ErrorClass::Stale,
        RetryPolicy::Soon
    )]
    #[case::exists(
        409,
        "AlreadyExists",
        "pods \"a\" already exists",
        ErrorClass::AlreadyExists,
        RetryPolicy::Soon
    )]
    #[case::taken(
        409,
        "Conflict",
        "Apply failed with 1 conflict: conflict with \"kubectl\" using v1: .spec.ports",
        ErrorClass::Taken,
        RetryPolicy::BackOff
    )]
    #[case::gone(404, "NotFound", "pods \"a\" not found", ErrorClass::Gone, RetryPolicy::Soon)]
    #[case::no_such_kind(
        404,
        "NotFound",
        "the server could not find the requested resource",
        ErrorClass::KindNotServed,
        RetryPolicy::BackOff
    )]
    #[case::invalid(
        422,
        "Invalid",
        "Pod \"a\" is invalid",
        ErrorClass::Invalid,
        RetryPolicy::OnChange
    )]
    #[case::port_in_use(
        422,
        "Invalid",
        "Service \"a-scheduler\" is invalid: spec.ports[0].nodePort: Invalid value: 30086: provided port is already allocated",
        ErrorClass::InUse,
        RetryPolicy::Passing
    )]
    #[case::no_such_field(
        500,
        "InternalError",
        "failed to create typed patch object (n/a-scheduler; /v1, Kind=Service): .spec.metadata: field not declared in schema",
        ErrorClass::Invalid,
        RetryPolicy::OnChange
    )]
    #[case::bad(
        400,
        "BadRequest",
        "strict decoding error",
        ErrorClass::Invalid,
        RetryPolicy::OnChange
    )]
    #[case::large(413, "RequestEntityTooLarge", "", ErrorClass::Invalid, RetryPolicy::OnChange)]
    #[case::quota(
        403,
        "Forbidden",
        "pods \"a\" is forbidden: exceeded quota: q",
        ErrorClass::QuotaExceeded,
        RetryPolicy::Passing
    )]
    #[case::rbac(
        403,
        "Forbidden",
        "cannot create resource \"pods\"",
        ErrorClass::Forbidden,
        RetryPolicy::BackOff
    )]
    #[case::terminating(
        403,
        "Forbidden",
        "unable to create new content in namespace n because it is being terminated",
        ErrorClass::NamespaceTerminating,
        RetryPolicy::After(NAMESPACE_TERMINATION_DELAY)
    )]
    #[case::throttled(429, "TooManyRequests", "", ErrorClass::Throttled, RetryPolicy::Passing)]
    #[case::down(503, "ServiceUnavailable", "", ErrorClass::Unavailable, RetryPolicy::Passing)]
    #[case::timeout(504, "Timeout", "", ErrorClass::NoAnswer, RetryPolicy::Passing)]
    #[case::internal(
        500,
        "InternalError",
        "failed calling webhook",
        ErrorClass::Unavailable,
        RetryPolicy::Passing
    )]
    fn classifies_errors(
        #[case] code: u16,
        #[case] reason: &str,
        #[case] message: &str,
        #[case] class: ErrorClass,
        #[case] retry: RetryPolicy,
    ) {
        let error = ApiError {
            code,
            reason: reason.into(),
            message: message.into(),
            retry_after: None,
        };
        assert_eq!(ErrorClass::of(&error), class);
        assert_eq!(class.retry(None), retry);
    }

    #[test]
    fn the_delay_that_the_server_requests_is_used() {
        assert_eq!(
            ErrorClass::Throttled.retry(Some(3)),
            RetryPolicy::After(Duration::from_secs(3))
        );
        assert_eq!(
            ErrorClass::Unavailable.retry(Some(1)),
            RetryPolicy::After(Duration::from_secs(1))
        );
        assert_eq!(ErrorClass::Invalid.retry(Some(3)), RetryPolicy::OnChange);
    }
}
