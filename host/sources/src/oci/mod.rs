//! OCI registries: components as images of one layer, in the layout of the CNCF's
//! guidance for WebAssembly (`application/wasm`, with a configuration of the type
//! `application/vnd.wasm.config.v0+json`).

mod challenge;
mod image;
mod manifest;
mod places;
mod session;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use dask_operator_core::text;
use reqwest::{Method, Response, StatusCode};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;
use sha2::{Digest as _, Sha256};

pub use self::image::Image;
use self::manifest::{Content, Manifest};
pub use self::places::LOOKUPS;
use self::session::{Access, Ask, Session};
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

/// The most bytes of a manifest: one of a component has less than 2 kB.
const MANIFEST_LIMIT: usize = 1 << 20;

/// The most bytes of what somebody else says.
const WORDS: usize = 300;

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
    /// The longest time between two pieces of an answer while a component is pulled. A registry that is silent longer is tried
    /// again later, and keeps no other plugin waiting.
    pub silence: Duration,
    /// How large a component may be, in bytes.
    pub limit: usize,
    /// Hosts that credentials may be sent to for a token, beside the registry's own.
    pub auth_hosts: Vec<String>,
}

impl Default for Options {
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
        let mut session = Session::new(image, credentials, options, Access::Pull)?;
        let not_a_component = |problem: String| SourceError::NotAComponent {
            image: image.to_string(),
            problem: text::line(&problem, WORDS),
        };
        let (manifest, mut image_digest) = get_manifest(&mut session, image, name(image)).await?;
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

/// The tag or digest that an image is named by.
fn name(image: &Image) -> &str {
    let tag = || image.reference().tag().unwrap_or("latest");
    image.digest().unwrap_or_else(tag)
}

/// Gets the manifest of this tag or digest, and its digest.
async fn get_manifest(
    session: &mut Session<'_>,
    image: &Image,
    name: &str,
) -> Result<(Manifest, String), SourceError> {
    let is_digest = name.contains(':');
    if is_digest {
        check_digest(session, name)?;
    }
    let url = session.url(&format!("manifests/{name}"))?;
    let ask = Ask::new(Method::GET, url).accept(manifest::ACCEPTED);
    let mut response = expect(session, &ask, StatusCode::OK).await?;
    let what = format!("the manifest of {image}");
    let bytes = session.body(&mut response, MANIFEST_LIMIT, &what).await?;
    let digest = crate::digest(&bytes);
    if is_digest {
        crate::verify(&bytes, name)?;
    }
    let manifest = serde_json::from_slice(&bytes).map_err(|error| SourceError::NotAComponent {
        image: image.to_string(),
        problem: text::line(&format!("what its registry gives is no manifest: {error}"), WORDS),
    })?;
    Ok((manifest, digest))
}

/// Gets a layer of at most `limit` bytes, which are those that `digest` names.
async fn get_layer(
    session: &mut Session<'_>,
    image: &Image,
    digest: &str,
    limit: usize,
) -> Result<Vec<u8>, SourceError> {
    check_digest(session, digest)?;
    let url = session.url(&format!("blobs/{digest}"))?;
    let mut response = expect(session, &Ask::new(Method::GET, url), StatusCode::OK).await?;
    let mut bytes = Vec::new();
    // In passing, as long as the pieces are small: all at once would keep a thread busy.
    let mut hash = Sha256::new();
    session
        .pieces(&mut response, limit, &image.to_string(), |piece| {
            hash.update(piece);
            bytes.extend_from_slice(piece);
        })
        .await?;
    let found = crate::named(hash);
    if found != digest {
        return Err(SourceError::Digest {
            expected: digest.to_owned(),
            found,
        });
    }
    Ok(bytes)
}

/// Makes sure that this is a digest, and one that can be compared.
fn check_digest(session: &Session<'_>, text: &str) -> Result<(), SourceError> {
    let hex = text.strip_prefix("sha256:").unwrap_or_default();
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if hex.len() == 64 && hex.bytes().all(is_hex) {
        return Ok(());
    }
    Err(session.wrong(&format!("{text} is no digest that starts with sha256:")))
}

/// Asks, and takes any other status than this for an error.
async fn expect(session: &mut Session<'_>, ask: &Ask, status: StatusCode) -> Result<Response, SourceError> {
    let response = session.ask(ask).await?;
    if response.status() == status {
        return Ok(response);
    }
    Err(session.refused(response).await)
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
        let mut session = Session::new(image, credentials, options, Access::Push)?;
        let layer = json!({"mediaType": LAYER, "digest": crate::digest(&component), "size": component.len()});
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
                "digest": crate::digest(configuration.as_bytes()),
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
        let digest = crate::digest(&manifest);
        let url = session.url(&format!("manifests/{}", name(image)))?;
        let ask = Ask::new(Method::PUT, url).body(manifest, manifest::IMAGE);
        expect(&mut session, &ask, StatusCode::CREATED).await?;
        Ok(digest)
    })
    .await
}

/// Stores bytes in the image's repository, unless they are there.
async fn put_blob(session: &mut Session<'_>, bytes: Bytes) -> Result<(), SourceError> {
    let digest = crate::digest(&bytes);
    let url = session.url(&format!("blobs/{digest}"))?;
    let there = session.ask(&Ask::new(Method::HEAD, url)).await?;
    if there.status() == StatusCode::OK {
        return Ok(());
    }
    if there.status() != StatusCode::NOT_FOUND {
        return Err(session.refused(there).await);
    }
    let begin = Ask::new(Method::POST, session.url("blobs/uploads/")?);
    let begun = expect(session, &begin, StatusCode::ACCEPTED).await?;
    let send = Ask::new(Method::PATCH, session.location(&begun)?).body(bytes, "application/octet-stream");
    let sent = expect(session, &send, StatusCode::ACCEPTED).await?;
    let mut end = session.location(&sent)?;
    end.query_pairs_mut().append_pair("digest", &digest);
    expect(session, &Ask::new(Method::PUT, end), StatusCode::CREATED).await?;
    Ok(())
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

#[cfg(test)]
mod tests;
