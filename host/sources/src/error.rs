//! Why a component can't be had, in sentences for people.

use std::path::PathBuf;

use thiserror::Error;

/// Why a component can't be had, or can't be pushed.
#[derive(Debug, Error)]
pub enum SourceError {
    /// A text that names no image.
    #[error("{image:?} names no image ({problem}): write it as registry.example.com/team/policy:1.0.0")]
    Reference {
        /// What was written.
        image: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The registry has no such image.
    #[error("{image} does not exist: its registry knows no such repository, tag or digest")]
    NotFound {
        /// The image.
        image: String,
    },
    /// The registry wants to know who asks, or does not let them.
    #[error(
        "{registry} does not let {}: {}",
        if *.anonymous { "anybody see it without a name" } else { "this user do that" },
        if *.anonymous { "name a secret with credentials (pullSecrets), or log in" } else { "check name, password and rights" }
    )]
    Unauthorised {
        /// The registry.
        registry: String,
        /// Whether no credentials were given.
        anonymous: bool,
    },
    /// The registry's certificate is not trusted.
    #[error(
        "the certificate of {registry} is not trusted ({problem}): if its authority is your own, give its \
         certificate to the operator (--plugin-ca-file)"
    )]
    Tls {
        /// The registry.
        registry: String,
        /// In the library's words.
        problem: String,
    },
    /// The registry can't be reached.
    #[error("{registry} can't be reached: {problem}")]
    Unreachable {
        /// The registry.
        registry: String,
        /// In the library's words.
        problem: String,
    },
    /// It took too long.
    #[error("{registry} did not answer in {seconds} s")]
    Deadline {
        /// The registry.
        registry: String,
        /// How long it had.
        seconds: u64,
    },
    /// The registry answered something else.
    #[error("{registry} answered: {problem}")]
    Registry {
        /// The registry.
        registry: String,
        /// In its own words.
        problem: String,
    },
    /// The registry sends for a token to where credentials may not go.
    #[error(
        "{registry} sends for a token to {host}, where nobody has said that credentials may go: if that host belongs to the \
         registry and is reached over https, allow it (--plugin-auth-host)"
    )]
    AuthHost {
        /// The registry.
        registry: String,
        /// The host, with the scheme.
        host: String,
    },
    /// The registry sends to where it may not.
    #[error("{registry} sends elsewhere for what it is asked for, which is not followed: {problem}")]
    Elsewhere {
        /// The registry.
        registry: String,
        /// Where, and why not.
        problem: String,
    },
    /// The image is none of a component.
    #[error("{image} is no WebAssembly component: {problem}")]
    NotAComponent {
        /// The image.
        image: String,
        /// What it is instead.
        problem: String,
    },
    /// It is too large.
    #[error("{name} is larger than {limit} bytes")]
    TooLarge {
        /// Which one.
        name: String,
        /// How large it may be.
        limit: usize,
    },
    /// The bytes are not those that were meant.
    #[error("its digest is {found}, but {expected} is wanted: it is another version, or somebody changed it")]
    Digest {
        /// What was wanted.
        expected: String,
        /// What was found.
        found: String,
    },
    /// The administrator does not allow this source.
    #[error("{name} is not allowed as a source of plugins here; allowed {}", list(.allowed))]
    NotAllowed {
        /// The source.
        name: String,
        /// What is allowed.
        allowed: Vec<String>,
    },
    /// A file that lies elsewhere.
    #[error(
        "{} is not below a folder for plugins; {}", path.display(),
        if .folders.is_empty() { "there is none: the operator's --plugin-folder names them".to_owned() }
        else { format!("these are {}", .folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ")) }
    )]
    Outside {
        /// The file.
        path: PathBuf,
        /// Where it would have to be.
        folders: Vec<PathBuf>,
    },
    /// A file can't be read.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        error: std::io::Error,
    },
    /// A certificate file that holds none.
    #[error("{}: no certificates in PEM form: {problem}", path.display())]
    Roots {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Credentials that can't be read. Nothing of them is in the message.
    #[error("these credentials can't be used: {0}")]
    Credentials(String),
}

impl SourceError {
    /// One word in CamelCase, for conditions and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Reference { .. } => "InvalidReference",
            Self::NotFound { .. } => "ImageNotFound",
            Self::Unauthorised { .. } => "NotAuthorised",
            Self::Tls { .. } => "CertificateNotTrusted",
            Self::Unreachable { .. } => "RegistryUnreachable",
            Self::Deadline { .. } => "RegistryTimeout",
            Self::Registry { .. } => "RegistryError",
            Self::AuthHost { .. } => "AuthHostNotAllowed",
            Self::Elsewhere { .. } => "RedirectNotAllowed",
            Self::NotAComponent { .. } => "NotAComponent",
            Self::TooLarge { .. } => "TooLarge",
            Self::Digest { .. } => "DigestMismatch",
            Self::NotAllowed { .. } => "SourceNotAllowed",
            Self::Outside { .. } => "FileOutsideFolder",
            Self::Io { .. } => "FileUnreadable",
            Self::Roots { .. } => "CertificateFileUnreadable",
            Self::Credentials(_) => "CredentialsUnusable",
        }
    }
}

fn list(allowed: &[String]) -> String {
    match allowed {
        [] => "is none".to_owned(),
        [one] => format!("is {one}"),
        several => format!("are {}", several.join(", ")),
    }
}
