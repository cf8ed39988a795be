//! OCI registries: components as images of one layer, in the layout of the CNCF's
//! guidance for WebAssembly (`application/wasm`, with a configuration of the type
//! `application/vnd.wasm.config.v0+json`).

mod bounded;
mod image;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use oci_client::Client;
use oci_client::client::{
    Certificate, CertificateEncoding, ClientConfig, ClientProtocol, Config, ImageLayer,
};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::manifest::{ImageIndexEntry, OciImageManifest};
use oci_client::secrets::RegistryAuth;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;

use self::bounded::Bounded;
pub use self::image::Image;
use crate::{Credentials, SIZE_LIMIT, SourceError};

/// The type of a layer that is a component.
const LAYER: &str = "application/wasm";

/// Types of layers under which other tools have stored components.
const FORMER_LAYERS: [&str; 2] = [
    "application/vnd.wasm.content.layer.v1+wasm",
    "application/vnd.module.wasm.content.layer.v1+wasm",
];

/// The type of the configuration.
const CONFIGURATION: &str = "application/vnd.wasm.config.v0+json";

/// How long a connection may take to be established.
const CONNECT: Duration = Duration::from_secs(10);

/// Certificates of authorities that are trusted beside the system's.
#[derive(Clone, Debug, Default)]
pub struct Roots(Vec<Vec<u8>>);

impl Roots {
    /// Reads all certificates of a file in PEM form.
    ///
    /// # Errors
    ///
    /// When it can't be read or holds none.
    pub fn from_file(path: &Path) -> Result<Self, SourceError> {
        let wrong = |problem: String| SourceError::Roots {
            path: path.to_owned(),
            problem,
        };
        let certificates = CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?;
        let certificates = certificates
            .map(|certificate| certificate.map(|der| der.to_vec()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| wrong(error.to_string()))?;
        if certificates.is_empty() {
            return Err(wrong("it holds nothing of the kind".to_owned()));
        }
        Ok(Self(certificates))
    }
}

/// How to speak to a registry.
#[derive(Clone, Debug)]
pub struct Options {
    /// Without TLS.
    pub insecure: bool,
    /// Whom to trust beside the system's authorities.
    pub roots: Roots,
    /// From the first request to the last answer.
    pub deadline: Duration,
    /// How large a component may be, in bytes.
    pub limit: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            insecure: false,
            roots: Roots::default(),
            deadline: Duration::from_secs(120),
            limit: SIZE_LIMIT,
        }
    }
}

/// A component that was pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// Its bytes. They are those that the image's manifest names.
    pub bytes: Vec<u8>,
    /// The digest of the image's manifest, `sha256:…`: what a tag stands for now.
    pub image_digest: String,
}

/// What is said about a component in its image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// The interfaces that it exports, in full.
    pub exports: Vec<String>,
    /// What it imports, in full.
    pub imports: Vec<String>,
    /// Annotations of the image, `org.opencontainers.image.version` for instance.
    pub annotations: BTreeMap<String, String>,
}

/// Pulls the component that `image` holds.
///
/// # Errors
///
/// When it can't be had, is no component or is too large.
pub async fn pull(
    image: &Image,
    credentials: &Credentials,
    options: &Options,
) -> Result<Pulled, SourceError> {
    within(image, options, async {
        let client = client(image, options)?;
        let failed = |error| failure(image, credentials, options, &error);
        let (manifest, image_digest) = client
            .pull_image_manifest(image.reference(), &auth(credentials))
            .await
            .map_err(failed)?;
        let layer = match manifest.layers.as_slice() {
            [layer] if layer.media_type == LAYER || FORMER_LAYERS.contains(&layer.media_type.as_str()) => {
                layer
            }
            layers => {
                let types: Vec<_> = layers.iter().map(|layer| layer.media_type.as_str()).collect();
                let problem = format!(
                    "an image of one has a single layer of the type {LAYER}, this one has {}",
                    if types.is_empty() {
                        "none".to_owned()
                    } else {
                        types.join(", ")
                    }
                );
                return Err(SourceError::NotAComponent {
                    image: image.to_string(),
                    problem,
                });
            }
        };
        let too_large = || SourceError::TooLarge {
            name: image.to_string(),
            limit: options.limit,
        };
        if usize::try_from(layer.size).is_ok_and(|size| size > options.limit) {
            return Err(too_large());
        }
        let mut bytes = Bounded::new(options.limit);
        let pulled = client.pull_blob(image.reference(), layer, &mut bytes).await;
        if bytes.is_exceeded() {
            return Err(too_large());
        }
        pulled.map_err(failed)?;
        Ok(Pulled {
            bytes: bytes.into_inner(),
            image_digest,
        })
    })
    .await
}

/// Pushes a component as `image`. Gives the digest of the image's manifest, `sha256:…`.
///
/// # Errors
///
/// When the registry does not take it.
pub async fn push(
    image: &Image,
    component: Vec<u8>,
    about: &About,
    credentials: &Credentials,
    options: &Options,
) -> Result<String, SourceError> {
    within(image, options, async {
        let client = client(image, options)?;
        let failed = |error| failure(image, credentials, options, &error);
        let layer_digest = crate::digest(&component);
        let layers = [ImageLayer::new(component, LAYER.to_owned(), None)];
        let configuration = json!({
            "architecture": "wasm",
            "os": "wasip2",
            "layerDigests": [layer_digest],
            "component": {"exports": about.exports, "imports": about.imports},
        });
        let configuration = Config::new(
            configuration.to_string().into_bytes(),
            CONFIGURATION.to_owned(),
            None,
        );
        let annotations = (!about.annotations.is_empty()).then(|| about.annotations.clone());
        let mut manifest = OciImageManifest::build(&layers, &configuration, annotations);
        manifest.media_type = Some(oci_client::manifest::OCI_IMAGE_MEDIA_TYPE.to_owned());
        client
            .push(
                image.reference(),
                &layers,
                configuration,
                &auth(credentials),
                Some(manifest),
            )
            .await
            .map_err(failed)?;
        client
            .fetch_manifest_digest(image.reference(), &auth(credentials))
            .await
            .map_err(failed)
    })
    .await
}

async fn within<T>(
    image: &Image,
    options: &Options,
    work: impl Future<Output = Result<T, SourceError>>,
) -> Result<T, SourceError> {
    let late = |_| SourceError::Deadline {
        registry: image.registry().to_owned(),
        seconds: options.deadline.as_secs(),
    };
    tokio::time::timeout(options.deadline, work).await.map_err(late)?
}

fn client(image: &Image, options: &Options) -> Result<Client, SourceError> {
    // The first one that is installed counts; they are all the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let certificate = |der: &Vec<u8>| Certificate {
        encoding: CertificateEncoding::Der,
        data: der.clone(),
    };
    let config = ClientConfig {
        protocol: if options.insecure {
            ClientProtocol::Http
        } else {
            ClientProtocol::Https
        },
        extra_root_certificates: options.roots.0.iter().map(certificate).collect(),
        platform_resolver: Some(Box::new(webassembly)),
        connect_timeout: Some(CONNECT.min(options.deadline)),
        read_timeout: Some(options.deadline),
        user_agent: concat!("dask-operator/", env!("CARGO_PKG_VERSION")),
        ..ClientConfig::default()
    };
    Client::try_from(config).map_err(|error| SourceError::Registry {
        registry: image.registry().to_owned(),
        problem: error.to_string(),
    })
}

/// Of an index, the entry for WebAssembly.
fn webassembly(entries: &[ImageIndexEntry]) -> Option<String> {
    let is_wasm = |entry: &&ImageIndexEntry| {
        entry
            .platform
            .as_ref()
            .is_some_and(|platform| platform.architecture.to_string() == "wasm")
    };
    let found = entries.iter().find(is_wasm).or(match entries {
        [only] => Some(only),
        _ => None,
    });
    found.map(|entry| entry.digest.clone())
}

fn auth(credentials: &Credentials) -> RegistryAuth {
    match credentials {
        Credentials::Anonymous => RegistryAuth::Anonymous,
        Credentials::Basic { username, password } => RegistryAuth::Basic(username.clone(), password.clone()),
    }
}

/// What an error of the library means to people.
fn failure(
    image: &Image,
    credentials: &Credentials,
    options: &Options,
    error: &OciDistributionError,
) -> SourceError {
    let registry = image.registry().to_owned();
    let unauthorised = || SourceError::Unauthorised {
        registry: registry.clone(),
        anonymous: *credentials == Credentials::Anonymous,
    };
    let not_found = || SourceError::NotFound {
        image: image.to_string(),
    };
    match error {
        OciDistributionError::AuthenticationFailure(_) | OciDistributionError::UnauthorizedError { .. } => {
            unauthorised()
        }
        OciDistributionError::ServerError { code: 401 | 403, .. } => unauthorised(),
        OciDistributionError::ServerError { code: 404, .. }
        | OciDistributionError::ImageManifestNotFoundError(_) => not_found(),
        OciDistributionError::RegistryError { envelope, .. } => {
            let has =
                |codes: &[OciErrorCode]| envelope.errors.iter().any(|error| codes.contains(&error.code));
            if has(&[
                OciErrorCode::ManifestUnknown,
                OciErrorCode::NameUnknown,
                OciErrorCode::BlobUnknown,
            ]) {
                not_found()
            } else if has(&[OciErrorCode::Unauthorized, OciErrorCode::Denied]) {
                unauthorised()
            } else {
                SourceError::Registry {
                    registry,
                    problem: envelope.to_string(),
                }
            }
        }
        error => {
            let problem = innermost(error);
            let text = problem.to_lowercase();
            if text.contains("certificate") || text.contains("unknownissuer") {
                SourceError::Tls { registry, problem }
            } else if matches!(error, OciDistributionError::RequestError(_)) {
                if text.contains("timed out") {
                    SourceError::Deadline {
                        registry,
                        seconds: options.deadline.as_secs(),
                    }
                } else {
                    SourceError::Unreachable { registry, problem }
                }
            } else {
                SourceError::Registry { registry, problem }
            }
        }
    }
}

/// The message of the error at the bottom: what wraps it says nothing that isn't known.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(text: &str) -> Image {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    /// A registry that answers each request with the next of these answers.
    async fn registry(answers: Vec<String>) -> String {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        let address = listener.local_addr().unwrap_or_else(|error| panic!("{error}"));
        tokio::spawn(async move {
            for answer in answers {
                let Ok((mut stream, _)) = listener.accept().await else {
                    return;
                };
                let mut buffer = [0; 4096];
                let _ = stream.read(&mut buffer).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        address.to_string()
    }

    fn answer(status: &str, headers: &str, body: &str) -> String {
        format!(
            "HTTP/1.1 {status}\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    fn plain() -> Options {
        Options {
            insecure: true,
            deadline: Duration::from_secs(5),
            limit: 8,
            ..Options::default()
        }
    }

    fn manifest(layers: &[(&str, usize)]) -> String {
        let layers: Vec<_> = layers
            .iter()
            .map(|(type_, size)| json!({"mediaType": type_, "digest": crate::digest(b"component"), "size": size}))
            .collect();
        json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": CONFIGURATION, "digest": crate::digest(b"{}"), "size": 2},
            "layers": layers,
        })
        .to_string()
    }

    #[tokio::test]
    async fn what_a_registry_answers_is_said() {
        let missing = r#"{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "no"}]}"#;
        let cases = [
            (answer("404 Not Found", "", missing), "ImageNotFound"),
            (answer("401 Unauthorized", "", ""), "NotAuthorised"),
            (answer("500 Oops", "", "broken"), "RegistryError"),
            (answer("200 OK", "", &manifest(&[])), "NotAComponent"),
            (
                answer(
                    "200 OK",
                    "",
                    &manifest(&[("application/vnd.oci.image.layer.v1.tar", 1)]),
                ),
                "NotAComponent",
            ),
            (answer("200 OK", "", &manifest(&[(LAYER, 9)])), "TooLarge"),
        ];
        for (told, reason) in cases {
            let address = registry(vec![answer("200 OK", "", ""), told]).await;
            let image = image(&format!("{address}/team/policy:1"));
            let pulled = pull(&image, &Credentials::Anonymous, &plain()).await;
            assert_eq!(pulled.map_err(|error| error.reason()), Err(reason));
        }
    }

    #[tokio::test]
    async fn a_layer_is_bounded_whatever_its_manifest_says() {
        let address = registry(vec![
            answer("200 OK", "", ""),
            answer("200 OK", "", &manifest(&[(LAYER, 1)])),
            answer("200 OK", "", ""),
            answer("200 OK", "", "component"),
        ])
        .await;
        let image = image(&format!("{address}/team/policy:1"));
        let pulled = pull(&image, &Credentials::Anonymous, &plain()).await;
        assert_eq!(pulled.map_err(|error| error.reason()), Err("TooLarge"));
    }

    #[tokio::test]
    async fn nobody_answers() {
        let image = image("127.0.0.1:1/team/policy:1");
        let pulled = pull(&image, &Credentials::Anonymous, &plain()).await;
        assert_eq!(pulled.map_err(|error| error.reason()), Err("RegistryUnreachable"));
    }
}
