//! Errors of fetching and pushing components, with messages for users.

use std::path::PathBuf;

use thiserror::Error;

/// Error of fetching or pushing a component.
#[derive(Debug, Error)]
pub enum SourceError {
    /// The text is not a valid name of an image.
    #[error("{image:?} names no image ({problem}): write it as registry.example.com/team/policy:1.0.0")]
    Reference {
        /// The given text.
        image: String,
        /// The syntax error.
        problem: String,
    },
    /// The registry has no such image.
    #[error("{image} does not exist: its registry knows no such repository, tag or digest")]
    NotFound {
        /// Name of the image.
        image: String,
    },
    /// The registry requires credentials, or denies access to the given ones.
    #[error(
        "{registry} {}: {}",
        if *.anonymous { "requires credentials" } else { "denies this user access" },
        if *.anonymous { "name a secret with credentials (pullSecrets), or log in" } else { "check name, password and rights" }
    )]
    Unauthorised {
        /// Name of the registry.
        registry: String,
        /// True if no credentials were given.
        anonymous: bool,
    },
    /// The registry's certificate is not trusted.
    #[error(
        "the certificate of {registry} is not trusted ({problem}): if its authority is your own, give its \
         certificate to the operator (--plugin-ca-file)"
    )]
    Tls {
        /// Name of the registry.
        registry: String,
        /// Error message of the TLS library.
        problem: String,
    },
    /// The registry can't be reached.
    #[error("{registry} can't be reached: {problem}")]
    Unreachable {
        /// Name of the registry.
        registry: String,
        /// Error message of the HTTP library.
        problem: String,
    },
    /// The registry did not answer in time.
    #[error("{registry} did not answer in {seconds} s")]
    Deadline {
        /// Name of the registry.
        registry: String,
        /// Time limit, in seconds.
        seconds: u64,
    },
    /// The registry returned an error or an invalid response.
    #[error("{registry} answered: {problem}")]
    Registry {
        /// Name of the registry.
        registry: String,
        /// Error message of the registry, or the problem with its response.
        problem: String,
    },
    /// The registry's token server is on a host that must not receive credentials.
    #[error(
        "{registry} uses the token server {host}, which is not allowed to receive credentials: if that host belongs to the \
         registry and is reached over https, allow it (--plugin-auth-host)"
    )]
    AuthHost {
        /// Name of the registry.
        registry: String,
        /// The host, with the scheme.
        host: String,
    },
    /// The registry redirects to a location that is not allowed.
    #[error("{registry} redirects to a location that is not followed: {problem}")]
    Elsewhere {
        /// Name of the registry.
        registry: String,
        /// The location, and the reason why it is not followed.
        problem: String,
    },
    /// The image does not contain a component.
    #[error("{image} is not a WebAssembly component: {problem}")]
    NotAComponent {
        /// Name of the image.
        image: String,
        /// The actual content of the image.
        problem: String,
    },
    /// The component, or a response of the registry, is too large.
    #[error("{name} is larger than {limit} bytes")]
    TooLarge {
        /// Name of the image, file or response.
        name: String,
        /// Maximum size, in bytes.
        limit: usize,
    },
    /// The bytes do not have the expected digest.
    #[error("its digest is {found}, but {expected} is expected: it is another version, or it was changed")]
    Digest {
        /// The expected digest.
        expected: String,
        /// The digest of the bytes.
        found: String,
    },
    /// The administrator does not allow this source.
    #[error("{name} is not allowed as a source of plugins here; allowed {}", list(.allowed))]
    NotAllowed {
        /// Name of the source.
        name: String,
        /// The allowed sources.
        allowed: Vec<String>,
    },
    /// The file is not below one of the allowed folders.
    #[error(
        "{} is not below a folder for plugins; {}", path.display(),
        if .folders.is_empty() { "there is none: the operator's --plugin-folder names them".to_owned() }
        else { format!("these are {}", .folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ")) }
    )]
    Outside {
        /// Path of the file.
        path: PathBuf,
        /// The allowed folders.
        folders: Vec<PathBuf>,
    },
    /// The file can't be read.
    #[error("{}: {error}", path.display())]
    Io {
        /// Path of the file.
        path: PathBuf,
        /// Error of the system.
        #[source]
        error: std::io::Error,
    },
    /// The certificate file contains no certificate.
    #[error("{}: no certificates in PEM form: {problem}", path.display())]
    Roots {
        /// Path of the file.
        path: PathBuf,
        /// Reason for the failure.
        problem: String,
    },
    /// The credentials can't be parsed. The message contains no part of them.
    #[error("these credentials can't be used: {0}")]
    Credentials(String),
}

impl SourceError {
    /// Returns the reason, for conditions and metrics.
    #[must_use]
    pub fn reason(&self) -> SourceReason {
        match self {
            Self::Reference { .. } => SourceReason::InvalidReference,
            Self::NotFound { .. } => SourceReason::ImageNotFound,
            Self::Unauthorised { .. } => SourceReason::NotAuthorised,
            Self::Tls { .. } => SourceReason::CertificateNotTrusted,
            Self::Unreachable { .. } => SourceReason::RegistryUnreachable,
            Self::Deadline { .. } => SourceReason::RegistryTimeout,
            Self::Registry { .. } => SourceReason::RegistryError,
            Self::AuthHost { .. } => SourceReason::AuthHostNotAllowed,
            Self::Elsewhere { .. } => SourceReason::RedirectNotAllowed,
            Self::NotAComponent { .. } => SourceReason::NotAComponent,
            Self::TooLarge { .. } => SourceReason::TooLarge,
            Self::Digest { .. } => SourceReason::DigestMismatch,
            Self::NotAllowed { .. } => SourceReason::SourceNotAllowed,
            Self::Outside { .. } => SourceReason::FileOutsideFolder,
            Self::Io { .. } => SourceReason::FileUnreadable,
            Self::Roots { .. } => SourceReason::CertificateFileUnreadable,
            Self::Credentials(_) => SourceReason::CredentialsUnusable,
        }
    }
}

dask_operator_core::reasons! {
    /// Reason why a component can't be fetched or pushed.
    pub enum SourceReason {
        /// The name of the image is invalid: check `source`.
        InvalidReference => "InvalidReference",
        /// The registry has no such image: check `source`.
        ImageNotFound => "ImageNotFound",
        /// The registry requires credentials, or denies access to the given ones: check `pullSecrets`.
        NotAuthorised => "NotAuthorised",
        /// The registry's certificate is not trusted: give the certificate of its authority to the operator
        /// (`--plugin-ca-file`).
        CertificateNotTrusted => "CertificateNotTrusted",
        /// The registry can't be reached: check it and the network. The operator retries.
        RegistryUnreachable => "RegistryUnreachable",
        /// The registry did not answer in time: check it and the network. The operator retries.
        RegistryTimeout => "RegistryTimeout",
        /// The registry returned an error or an invalid response: check it. The operator retries.
        RegistryError => "RegistryError",
        /// The registry's token server is on a host that must not receive credentials: if the host in the message belongs to
        /// the registry, add it to the operator's flags (`--plugin-auth-host`).
        AuthHostNotAllowed => "AuthHostNotAllowed",
        /// The registry redirects to a location that is not allowed: check the address of its storage.
        RedirectNotAllowed => "RedirectNotAllowed",
        /// The file or image is not a component: check it with `dask-operator plugin inspect FILE`.
        NotAComponent => "NotAComponent",
        /// The component, or a response of the registry, is larger than the operator reads.
        TooLarge => "TooLarge",
        /// The bytes do not have the expected digest: check `source` and `digest`.
        DigestMismatch => "DigestMismatch",
        /// The operator's flags don't allow this source (`--allow-plugin-source`, `--allow-tenant-plugin-source`).
        SourceNotAllowed => "SourceNotAllowed",
        /// The file is not below one of the operator's folders for plugins (`--plugin-folder`).
        FileOutsideFolder => "FileOutsideFolder",
        /// The file can't be read: check `source`.
        FileUnreadable => "FileUnreadable",
        /// The certificate file contains no certificate.
        CertificateFileUnreadable => "CertificateFileUnreadable",
        /// The credentials can't be parsed: check `pullSecrets`.
        CredentialsUnusable => "CredentialsUnusable",
    }
}

/// Lists the allowed sources, beginning with the verb.
fn list(allowed: &[String]) -> String {
    match allowed {
        [] => "is none".to_owned(),
        [one] => format!("is {one}"),
        several => format!("are {}", several.join(", ")),
    }
}
