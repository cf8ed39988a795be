//! OCI registries. Components are images with one layer, in the layout of the CNCF's
//! guidance for WebAssembly: the layer has the type `application/wasm`, and the
//! configuration has the type `application/vnd.wasm.config.v0+json`.

mod challenge;
mod image;
mod manifest;
mod redirect_guard;
mod session;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use dask_operator_core::digest::Digest;
use dask_operator_core::text;
use reqwest::{Method, Response, StatusCode};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;
use sha2::{Digest as _, Sha256};

pub use self::image::Image;
use self::manifest::{Content, Manifest};
pub use self::redirect_guard::LOOKUPS;
use self::session::{Access, Request, Session};
use crate::{Credentials, SIZE_LIMIT, SourceError};

/// Media type of a layer that is a component.
const LAYER: &str = "application/wasm";

/// Media types of layers under which other tools have stored components.
const LEGACY_LAYERS: [&str; 2] = [
    "application/vnd.wasm.content.layer.v1+wasm",
    "application/vnd.module.wasm.content.layer.v1+wasm",
];

/// Media type of the configuration.
const CONFIGURATION: &str = "application/vnd.wasm.config.v0+json";

/// Maximum size of a manifest, in bytes. The manifest of a component has less than 2 kB.
const MANIFEST_LIMIT: usize = 1 << 20;

/// Maximum length of foreign text in a message, in bytes.
const MAX_TEXT_BYTES: usize = 300;

/// Timeout for establishing a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Certificates of authorities that are trusted in addition to the system's.
#[derive(Clone, Debug, Default)]
pub struct Roots(Vec<Vec<u8>>);

impl Roots {
    /// Reads all certificates of a file in PEM form.
    ///
    /// # Errors
    ///
    /// Returns an error if the file can't be read or contains no certificate.
    pub fn from_file(path: &Path) -> Result<Self, SourceError> {
        let unusable = |problem: String| SourceError::Roots {
            path: path.to_owned(),
            problem,
        };
        let certificates =
            CertificateDer::pem_file_iter(path).map_err(|error| unusable(error.to_string()))?;
        let certificates = certificates
            .map(|certificate| certificate.map(|der| der.to_vec()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| unusable(error.to_string()))?;
        if certificates.is_empty() {
            return Err(unusable("it contains none".to_owned()));
        }
        Ok(Self(certificates))
    }
}

/// Options for the communication with a registry.
#[derive(Clone, Debug)]
pub struct RegistryOptions {
    /// Uses HTTP without TLS.
    pub insecure: bool,
    /// Authorities that are trusted in addition to the system's.
    pub roots: Roots,
    /// Time from the first request to the end of the last response.
    pub deadline: Duration,
    /// Maximum time between two pieces of a response during a pull. The pull fails if the registry sends nothing for longer,
    /// so that it does not delay other plugins.
    pub silence: Duration,
    /// Maximum size of a component, in bytes.
    pub limit: usize,
    /// Hosts that may receive credentials in exchange for a token, in addition to the registry's own host.
    pub auth_hosts: Vec<String>,
}

impl Default for RegistryOptions {
    fn default() -> Self {
        Self {
            insecure: false,
            roots: Roots::default(),
            deadline: Duration::from_secs(120),
            silence: Duration::from_secs(20),
            limit: SIZE_LIMIT,
            auth_hosts: Vec::new(),
        }
    }
}

/// Component that was pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// The bytes of the component, verified with the digest in the image's manifest.
    pub bytes: Vec<u8>,
    /// Digest of the image's manifest, `sha256:…`, to which a tag referred at the time of the pull.
    pub image_digest: String,
}

/// Metadata of a component in its image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageMetadata {
    /// Full names of the interfaces that the component exports.
    pub exports: Vec<String>,
    /// Full names of the interfaces that the component imports.
    pub imports: Vec<String>,
    /// Annotations of the image, for example `org.opencontainers.image.version`.
    pub annotations: BTreeMap<String, String>,
}

/// Pulls the component of an image.
///
/// # Errors
///
/// Returns an error if the image can't be pulled, is not one of a component or is too large.
pub async fn pull(
    image: &Image,
    credentials: &Credentials,
    options: &RegistryOptions,
) -> Result<Pulled, SourceError> {
    with_deadline(image, options, async {
        let mut session = Session::new(image, credentials, options, Access::Pull)?;
        let not_a_component = |problem: String| SourceError::NotAComponent {
            image: image.to_string(),
            problem: text::line(&problem, MAX_TEXT_BYTES),
        };
        let (manifest, mut image_digest) = get_manifest(&mut session, image, digest_or_tag(image)).await?;
        let mut content = manifest.content().map_err(not_a_component)?;
        if let Content::Image(digest) = content {
            let (manifest, of_image) = get_manifest(&mut session, image, &digest).await?;
            image_digest = of_image;
            content = manifest.content().map_err(not_a_component)?;
        }
        let Content::Layer(layer) = content else {
            return Err(not_a_component("it is an index of indexes".to_owned()));
        };
        if usize::try_from(layer.size).is_ok_and(|size| size > options.limit) {
            return Err(SourceError::TooLarge {
                name: image.to_string(),
                limit: options.limit,
            });
        }
        let bytes = get_layer(&mut session, image, &layer.digest, options.limit).await?;
        Ok(Pulled { bytes, image_digest })
    })
    .await
}

/// Returns the digest or tag of an image's name; `latest` if it has neither.
fn digest_or_tag(image: &Image) -> &str {
    let tag = || image.reference().tag().unwrap_or("latest");
    image.digest().unwrap_or_else(tag)
}

/// Gets the manifest with this tag or digest. Returns the manifest and its digest.
async fn get_manifest(
    session: &mut Session<'_>,
    image: &Image,
    name: &str,
) -> Result<(Manifest, String), SourceError> {
    let is_digest = name.contains(':');
    if is_digest {
        parse_digest(session, name)?;
    }
    let url = session.url(&format!("manifests/{name}"))?;
    let request = Request::new(Method::GET, url).accept(manifest::ACCEPTED);
    let mut response = expect(session, &request, StatusCode::OK).await?;
    let what = format!("the manifest of {image}");
    let bytes = session.read_body(&mut response, MANIFEST_LIMIT, &what).await?;
    let digest = Digest::of(&bytes).to_string();
    if is_digest {
        crate::verify(&bytes, name)?;
    }
    let manifest = serde_json::from_slice(&bytes).map_err(|error| SourceError::NotAComponent {
        image: image.to_string(),
        problem: text::line(
            &format!("its registry returned an invalid manifest: {error}"),
            MAX_TEXT_BYTES,
        ),
    })?;
    Ok((manifest, digest))
}

/// Gets the layer with this digest, of at most `limit` bytes, and verifies the digest.
async fn get_layer(
    session: &mut Session<'_>,
    image: &Image,
    digest: &str,
    limit: usize,
) -> Result<Vec<u8>, SourceError> {
    let expected = parse_digest(session, digest)?;
    let url = session.url(&format!("blobs/{digest}"))?;
    let mut response = expect(session, &Request::new(Method::GET, url), StatusCode::OK).await?;
    let mut bytes = Vec::new();
    // The hash is updated with each small piece: hashing all bytes at once would block a thread.
    let mut hash = Sha256::new();
    session
        .read_pieces(&mut response, limit, &image.to_string(), |piece| {
            hash.update(piece);
            bytes.extend_from_slice(piece);
        })
        .await?;
    let found = Digest::from(hash);
    if found != expected {
        return Err(SourceError::Digest {
            expected: expected.to_string(),
            found: found.to_string(),
        });
    }
    Ok(bytes)
}

/// Parses a digest that an image's name or its registry contains.
fn parse_digest(session: &Session<'_>, text: &str) -> Result<Digest, SourceError> {
    let not_a_digest =
        |_| session.registry_error(&format!("{text} is not a digest that starts with sha256:"));
    text.parse().map_err(not_a_digest)
}

/// Sends a request. Returns an error if the response has another status than this.
async fn expect(
    session: &mut Session<'_>,
    request: &Request,
    status: StatusCode,
) -> Result<Response, SourceError> {
    let response = session.execute(request).await?;
    if response.status() == status {
        return Ok(response);
    }
    Err(session.response_error(response).await)
}

/// Pushes a component as `image`. Returns the digest of the image's manifest, `sha256:…`.
///
/// # Errors
///
/// Returns an error if the registry can't be reached or refuses the image.
pub async fn push(
    image: &Image,
    component: Vec<u8>,
    about: &ImageMetadata,
    credentials: &Credentials,
    options: &RegistryOptions,
) -> Result<String, SourceError> {
    with_deadline(image, options, async {
        let mut session = Session::new(image, credentials, options, Access::Push)?;
        let layer = json!({"mediaType": LAYER, "digest": Digest::of(&component).to_string(), "size": component.len()});
        let configuration = json!({
            "architecture": "wasm",
            "os": "wasip2",
            "layerDigests": [layer["digest"]],
            "component": {"exports": about.exports, "imports": about.imports},
        })
        .to_string();
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": manifest::IMAGE,
            "config": {
                "mediaType": CONFIGURATION,
                "digest": Digest::of(configuration.as_bytes()).to_string(),
                "size": configuration.len(),
            },
            "layers": [layer],
        });
        if !about.annotations.is_empty() {
            manifest["annotations"] = json!(about.annotations);
        }
        put_blob(&mut session, Bytes::from(component)).await?;
        put_blob(&mut session, Bytes::from(configuration)).await?;
        let manifest = Bytes::from(manifest.to_string());
        let digest = Digest::of(&manifest).to_string();
        let url = session.url(&format!("manifests/{}", digest_or_tag(image)))?;
        let request = Request::new(Method::PUT, url).body(manifest, manifest::IMAGE);
        expect(&mut session, &request, StatusCode::CREATED).await?;
        Ok(digest)
    })
    .await
}

/// Uploads a blob to the image's repository, unless it already exists.
async fn put_blob(session: &mut Session<'_>, bytes: Bytes) -> Result<(), SourceError> {
    let digest = Digest::of(&bytes).to_string();
    let url = session.url(&format!("blobs/{digest}"))?;
    let existing = session.execute(&Request::new(Method::HEAD, url)).await?;
    if existing.status() == StatusCode::OK {
        return Ok(());
    }
    if existing.status() != StatusCode::NOT_FOUND {
        return Err(session.response_error(existing).await);
    }
    let start = Request::new(Method::POST, session.url("blobs/uploads/")?);
    let started = expect(session, &start, StatusCode::ACCEPTED).await?;
    let upload =
        Request::new(Method::PATCH, session.location(&started)?).body(bytes, "application/octet-stream");
    let uploaded = expect(session, &upload, StatusCode::ACCEPTED).await?;
    let mut completion = session.location(&uploaded)?;
    completion.query_pairs_mut().append_pair("digest", &digest);
    expect(
        session,
        &Request::new(Method::PUT, completion),
        StatusCode::CREATED,
    )
    .await?;
    Ok(())
}

/// Runs `work` with the deadline of the options.
async fn with_deadline<T>(
    image: &Image,
    options: &RegistryOptions,
    work: impl Future<Output = Result<T, SourceError>>,
) -> Result<T, SourceError> {
    let late = |_| SourceError::Deadline {
        registry: image.registry().to_owned(),
        seconds: options.deadline.as_secs(),
    };
    tokio::time::timeout(options.deadline, work).await.map_err(late)?
}

#[cfg(test)]
mod tests;
