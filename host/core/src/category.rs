//! What an error of the API server means.

use std::time::Duration;

/// An error as the API server reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// The HTTP status code.
    pub code: u16,
    /// `reason` of the answer, a word such as `AlreadyExists`; may be empty.
    pub reason: String,
    /// `message` of the answer, a sentence for a person.
    pub message: String,
    /// Seconds that the server asks to wait (`details.retryAfterSeconds`).
    pub retry_after: Option<u32>,
}

/// What it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// The object is not there (any more).
    Gone,
    /// There is no such kind: its definition is not installed.
    KindNotServed,
    /// What was decided on is no longer so: the object has changed or was
    /// made anew.
    Stale,
    /// An object of that name exists.
    AlreadyExists,
    /// An object of that name exists and is somebody else's.
    Taken,
    /// The object can never be accepted as it is.
    Invalid,
    /// Another object has what it asks for: a node port, or an address.
    InUse,
    /// The namespace's quota is used up.
    QuotaExceeded,
    /// The namespace is being deleted.
    NamespaceTerminating,
    /// The operator or the object lacks a right; a person has to change that.
    Forbidden,
    /// The server doesn't know who is asking.
    Unauthorized,
    /// Too many requests.
    Throttled,
    /// The server or something behind it (a webhook, etcd) is in trouble.
    Unavailable,
    /// No answer: the connection failed or took too long.
    NoAnswer,
}

/// When to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// As soon as the view is fresh.
    Soon,
    /// After this time.
    After(Duration),
    /// After a time that grows, though not for long: it passes without anybody changing
    /// what was sent.
    Passing,
    /// After a time that grows.
    BackOff,
    /// When the parent changes; until then, after the longest time.
    OnChange,
}

/// How long a namespace that is being deleted is left alone: nothing can be made
/// in it any more, and most are gone sooner.
const NAMESPACE_ENDS: Duration = Duration::from_secs(30);

impl Cause {
    /// What `error` is about.
    #[must_use]
    pub fn of(error: &ApiError) -> Self {
        let says = |text: &str| error.message.contains(text);
        match (error.code, error.reason.as_str()) {
            (409, "AlreadyExists") => Self::AlreadyExists,
            (409, _) if error.message.starts_with("Apply failed with") => Self::Taken,
            (409, _) => Self::Stale,
            // Of an object that is not there, its name is said.
            (404, _)
                if says("the server could not find the requested resource") || says("404 page not found") =>
            {
                Self::KindNotServed
            }
            (404 | 410, _) => Self::Gone,
            (403, _) if says("exceeded quota") => Self::QuotaExceeded,
            (403, _) if says("because it is being terminated") => Self::NamespaceTerminating,
            (403, _) => Self::Forbidden,
            (401, _) => Self::Unauthorized,
            (408 | 504, _) => Self::NoAnswer,
            (429, _) => Self::Throttled,
            (422, _)
                if says("provided port is already allocated") || says("provided IP is already allocated") =>
            {
                Self::InUse
            }
            (400..=499, _) => Self::Invalid,
            // Server-side apply knows no field by that name, and never will.
            (500, _) if says("field not declared in schema") => Self::Invalid,
            _ => Self::Unavailable,
        }
    }

    /// When to try again. `retry_after` is what the server asked for, in seconds.
    #[must_use]
    pub fn retry(self, retry_after: Option<u32>) -> Retry {
        match (self, retry_after) {
            (Self::Throttled | Self::Unavailable | Self::NoAnswer, Some(seconds)) => {
                Retry::After(Duration::from_secs(seconds.into()))
            }
            (Self::Gone | Self::Stale | Self::AlreadyExists, _) => Retry::Soon,
            (
                Self::Throttled | Self::Unavailable | Self::NoAnswer | Self::QuotaExceeded | Self::InUse,
                None,
            ) => Retry::Passing,
            (Self::Invalid, _) => Retry::OnChange,
            (Self::NamespaceTerminating, _) => Retry::After(NAMESPACE_ENDS),
            _ => Retry::BackOff,
        }
    }

    /// Whether only a person can change it, so that it belongs into a condition.
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

    /// Whether all other requests of the same kind in the same namespace would
    /// meet it too, so that sending them is pointless for now.
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

    /// A word for conditions, events and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gone => "NotFound",
            Self::KindNotServed => "KindNotServed",
            Self::Stale => "Conflict",
            Self::AlreadyExists => "AlreadyExists",
            Self::Taken => "Taken",
            Self::Invalid => "Invalid",
            Self::InUse => "InUse",
            Self::QuotaExceeded => "QuotaExceeded",
            Self::NamespaceTerminating => "NamespaceTerminating",
            Self::Forbidden => "Forbidden",
            Self::Unauthorized => "Unauthorized",
            Self::Throttled => "TooManyRequests",
            Self::Unavailable => "ServerError",
            Self::NoAnswer => "NoAnswer",
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::conflict(409, "Conflict", "the object has been modified", Cause::Stale, Retry::Soon)]
    #[case::exists(
        409,
        "AlreadyExists",
        "pods \"a\" already exists",
        Cause::AlreadyExists,
        Retry::Soon
    )]
    #[case::taken(
        409,
        "Conflict",
        "Apply failed with 1 conflict: conflict with \"kubectl\" using v1: .spec.ports",
        Cause::Taken,
        Retry::BackOff
    )]
    #[case::gone(404, "NotFound", "pods \"a\" not found", Cause::Gone, Retry::Soon)]
    #[case::no_such_kind(
        404,
        "NotFound",
        "the server could not find the requested resource",
        Cause::KindNotServed,
        Retry::BackOff
    )]
    #[case::invalid(422, "Invalid", "Pod \"a\" is invalid", Cause::Invalid, Retry::OnChange)]
    #[case::port_in_use(
        422,
        "Invalid",
        "Service \"a-scheduler\" is invalid: spec.ports[0].nodePort: Invalid value: 30086: provided port is already allocated",
        Cause::InUse,
        Retry::Passing
    )]
    #[case::no_such_field(
        500,
        "InternalError",
        "failed to create typed patch object (n/a-scheduler; /v1, Kind=Service): .spec.metadata: field not declared in schema",
        Cause::Invalid,
        Retry::OnChange
    )]
    #[case::bad(400, "BadRequest", "strict decoding error", Cause::Invalid, Retry::OnChange)]
    #[case::large(413, "RequestEntityTooLarge", "", Cause::Invalid, Retry::OnChange)]
    #[case::quota(
        403,
        "Forbidden",
        "pods \"a\" is forbidden: exceeded quota: q",
        Cause::QuotaExceeded,
        Retry::Passing
    )]
    #[case::rbac(
        403,
        "Forbidden",
        "cannot create resource \"pods\"",
        Cause::Forbidden,
        Retry::BackOff
    )]
    #[case::terminating(
        403,
        "Forbidden",
        "unable to create new content in namespace n because it is being terminated",
        Cause::NamespaceTerminating,
        Retry::After(NAMESPACE_ENDS)
    )]
    #[case::throttled(429, "TooManyRequests", "", Cause::Throttled, Retry::Passing)]
    #[case::down(503, "ServiceUnavailable", "", Cause::Unavailable, Retry::Passing)]
    #[case::timeout(504, "Timeout", "", Cause::NoAnswer, Retry::Passing)]
    #[case::internal(
        500,
        "InternalError",
        "failed calling webhook",
        Cause::Unavailable,
        Retry::Passing
    )]
    fn causes(
        #[case] code: u16,
        #[case] reason: &str,
        #[case] message: &str,
        #[case] cause: Cause,
        #[case] retry: Retry,
    ) {
        let error = ApiError {
            code,
            reason: reason.into(),
            message: message.into(),
            retry_after: None,
        };
        assert_eq!(Cause::of(&error), cause);
        assert_eq!(cause.retry(None), retry);
    }

    #[test]
    fn the_server_says_how_long() {
        assert_eq!(
            Cause::Throttled.retry(Some(3)),
            Retry::After(Duration::from_secs(3))
        );
        assert_eq!(
            Cause::Unavailable.retry(Some(1)),
            Retry::After(Duration::from_secs(1))
        );
        assert_eq!(Cause::Invalid.retry(Some(3)), Retry::OnChange);
    }
}
