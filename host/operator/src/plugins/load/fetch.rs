//! Retrieval of a plugin's bytes from the source that its resource names.

use std::path::Path;

use dask_operator_api::{ConfigMapSource, OciSource};
use dask_operator_core::digest::Digest;
use dask_operator_sources::{Credentials, SIZE_LIMIT, SourceError, file, oci};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client};

use crate::plugins::error::{LoadFailure, LoadReason};
use crate::plugins::resource::Resource;
use crate::plugins::sources::Sources;
use crate::threads::Weight;
use crate::threads::blocking;

/// Type of a Secret with a docker configuration, and the key of the configuration.
const DOCKER_CONFIG: (&str, &str) = ("kubernetes.io/dockerconfigjson", ".dockerconfigjson");

/// Verified bytes of a plugin.
pub(super) struct Fetched {
    pub(super) bytes: Vec<u8>,
    /// Digest of the bytes, `sha256:…`.
    pub(super) digest: String,
    /// Digest of the image's manifest; `None` if the bytes are not from a registry.
    pub(super) image_digest: Option<String>,
}

/// Retrieves a plugin's bytes from an allowed source, and compares them with the digest that its resource names.
///
/// # Errors
///
/// Returns an error if the source is not allowed, can't be read, or has other bytes.
pub(super) async fn fetch(
    sources: &Sources,
    client: &Client,
    resource: &Resource,
) -> Result<Fetched, LoadFailure> {
    sources.check(resource)?;
    let source = &resource.spec.source;
    let (bytes, image_digest) = if let Some(image) = &source.oci {
        let pulled = pull(sources, client, resource, image).await?;
        (pulled.bytes, Some(pulled.image_digest))
    } else if let Some(path) = &source.file {
        let bytes = file::read(Path::new(&path.path), &sources.folders, SIZE_LIMIT).await?;
        (bytes, None)
    } else if let Some(config_map) = &source.config_map {
        (read(client, resource, config_map).await?, None)
    } else {
        return Err(LoadFailure::new(LoadReason::NoSource, "spec.source is empty"));
    };
    let (digest, bytes) = blocking::run(Weight::of(bytes.len()), move || {
        (Digest::of(&bytes).to_string(), bytes)
    })
    .await;
    if let Some(wanted) = &resource.spec.digest
        && digest != *wanted
    {
        return Err(LoadFailure::from(SourceError::Digest {
            expected: wanted.clone(),
            found: digest,
        }));
    }
    Ok(Fetched {
        bytes,
        digest,
        image_digest,
    })
}

async fn pull(
    sources: &Sources,
    client: &Client,
    resource: &Resource,
    source: &OciSource,
) -> Result<oci::Pulled, LoadFailure> {
    let image = source.image.parse()?;
    let mut credentials = Credentials::Anonymous;
    for secret in source.pull_secrets.iter().flatten() {
        let namespace = resource.namespace_of(secret.namespace.as_ref());
        let config = docker_config(client, namespace, &secret.name).await?;
        if let Some(found) = Credentials::from_docker_config(&config, &image)? {
            credentials = found;
            break;
        }
    }
    let options = oci::RegistryOptions {
        insecure: source.insecure == Some(true),
        roots: sources.roots.clone(),
        auth_hosts: sources.auth_hosts.clone(),
        ..oci::RegistryOptions::default()
    };
    Ok(oci::pull(&image, &credentials, &options).await?)
}

async fn docker_config(client: &Client, namespace: &str, name: &str) -> Result<String, LoadFailure> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let place = format!("Secret {namespace}/{name}");
    let secret = api
        .get_opt(name)
        .await
        .map_err(|error| unreadable(&place, &error))?;
    let unusable = |problem: &str| LoadFailure::new(LoadReason::SecretUnusable, format!("{place} {problem}"));
    let secret = secret.ok_or_else(|| unusable("does not exist"))?;
    let (type_, key) = DOCKER_CONFIG;
    if secret.type_.as_deref() != Some(type_) {
        return Err(unusable(&format!(
            "is not of the type {type_}: make one with `kubectl create secret docker-registry`"
        )));
    }
    let data = secret.data.unwrap_or_default().remove(key);
    data.and_then(|data| String::from_utf8(data.0).ok())
        .ok_or_else(|| unusable(&format!("has no text under {key}")))
}

async fn read(
    client: &Client,
    resource: &Resource,
    source: &ConfigMapSource,
) -> Result<Vec<u8>, LoadFailure> {
    let namespace = resource.namespace_of(source.namespace.as_ref());
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let place = format!("ConfigMap {namespace}/{}", source.name);
    let found = api
        .get_opt(&source.name)
        .await
        .map_err(|error| unreadable(&place, &error))?;
    let unusable =
        |problem: String| LoadFailure::new(LoadReason::ConfigMapUnusable, format!("{place} {problem}"));
    let found = found.ok_or_else(|| unusable("does not exist".to_owned()))?;
    if let Some(bytes) = found.binary_data.unwrap_or_default().remove(&source.key) {
        return Ok(bytes.0);
    }
    Err(unusable(format!(
        "has no {} below binaryData: make it with `kubectl create configmap {} --from-file={}=FILE`",
        source.key, source.name, source.key
    )))
}

fn unreadable(place: &str, error: &kube::Error) -> LoadFailure {
    LoadFailure::new(LoadReason::Unreadable, format!("{place} can't be read: {error}"))
}
