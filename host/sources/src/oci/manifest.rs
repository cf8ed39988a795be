//! Manifests of images and of indexes, as far as this crate needs them.

use serde::Deserialize;

use super::{LAYER, LEGACY_LAYERS};

/// Media type of the manifest of an image.
pub(super) const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";

/// Media type of an index of images.
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Media type of Docker for the manifest of an image.
const DOCKER_IMAGE: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// Media type of Docker for an index of images.
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// All supported media types, for the header `Accept`.
pub(super) const ACCEPTED: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

/// Manifest of an image or an index.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    schema_version: u32,
    media_type: Option<String>,
    #[serde(default)]
    layers: Vec<Layer>,
    #[serde(default)]
    manifests: Vec<Entry>,
}

/// Layer of an image.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Layer {
    media_type: String,
    pub(super) digest: String,
    pub(super) size: u64,
}

/// Image of an index.
#[derive(Debug, Deserialize)]
struct Entry {
    digest: String,
    platform: Option<Platform>,
}

#[derive(Debug, Deserialize)]
struct Platform {
    architecture: String,
}

/// Content to which a manifest refers.
#[derive(Debug)]
pub(super) enum Content {
    /// Layer that is a component.
    Layer(Layer),
    /// Digest of the manifest of an image.
    Image(String),
}

impl Manifest {
    /// Returns the content to which the manifest refers. The error describes a manifest that is not one of a component.
    pub(super) fn content(self) -> Result<Content, String> {
        if self.schema_version != 2 {
            return Err(format!(
                "its manifest has the version {}, not 2",
                self.schema_version
            ));
        }
        let is_index = match self.media_type.as_deref() {
            Some(IMAGE | DOCKER_IMAGE) => false,
            Some(INDEX | DOCKER_INDEX) => true,
            None => !self.manifests.is_empty(),
            Some(other) => return Err(format!("its manifest is of the type {other}")),
        };
        if is_index {
            let image = wasm_image(&self.manifests);
            return image.map(Content::Image).ok_or_else(|| {
                "it is an index of several images, none of them of the architecture wasm".to_owned()
            });
        }
        match self.layers.as_slice() {
            [layer] if layer.media_type == LAYER || LEGACY_LAYERS.contains(&layer.media_type.as_str()) => {
                Ok(Content::Layer(layer.clone()))
            }
            layers => {
                // The number of layers and their types come from the registry and may be large.
                let types: Vec<_> = layers
                    .iter()
                    .take(5)
                    .map(|layer| layer.media_type.as_str())
                    .collect();
                let types = match layers.len() {
                    0 => "none".to_owned(),
                    1..=5 => types.join(", "),
                    count => format!("{count}, {} …", types.join(", ")),
                };
                Err(format!(
                    "the image of a component has a single layer of the type {LAYER}, this one has {types}"
                ))
            }
        }
    }
}

/// Returns the digest of the image for WebAssembly in an index, or of its only image. Returns `None` if there is neither.
fn wasm_image(entries: &[Entry]) -> Option<String> {
    let is_wasm = |entry: &&Entry| {
        entry
            .platform
            .as_ref()
            .is_some_and(|platform| platform.architecture == "wasm")
    };
    let found = entries.iter().find(is_wasm).or(match entries {
        [only] => Some(only),
        _ => None,
    });
    found.map(|entry| entry.digest.clone())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn content(mut manifest: Value) -> Result<String, String> {
        manifest["schemaVersion"] = 2.into();
        let manifest: Manifest = serde_json::from_value(manifest).map_err(|error| error.to_string())?;
        Ok(match manifest.content()? {
            Content::Layer(layer) => format!("layer {}", layer.digest),
            Content::Image(digest) => format!("image {digest}"),
        })
    }

    #[rstest]
    #[case(json!({"mediaType": IMAGE, "layers": [{"mediaType": LAYER, "digest": "a", "size": 1}]}), "layer a")]
    #[case(json!({"layers": [{"mediaType": LEGACY_LAYERS[0], "digest": "a", "size": 1}]}), "layer a")]
    #[case(json!({"mediaType": INDEX, "manifests": [{"digest": "a"}]}), "image a")]
    #[case(
        json!({"manifests": [
            {"digest": "a", "platform": {"architecture": "amd64", "os": "linux"}},
            {"digest": "b", "platform": {"architecture": "wasm", "os": "wasip2"}},
        ]}),
        "image b"
    )]
    fn finds_the_content(#[case] manifest: Value, #[case] expected: &str) {
        assert_eq!(content(manifest).as_deref(), Ok(expected));
    }

    #[rstest]
    #[case(json!({}), "this one has none")]
    #[case(json!({"mediaType": "text/html"}), "of the type text/html")]
    #[case(json!({"mediaType": INDEX, "manifests": []}), "none of them of the architecture wasm")]
    #[case(json!({"layers": [{"mediaType": "tar", "digest": "a", "size": 1}]}), "this one has tar")]
    #[case(json!({"layers": vec![json!({"mediaType": "t", "digest": "a", "size": 1}); 9]}), "this one has 9, t, t, t, t, t …")]
    fn rejects_manifests_of_other_content(#[case] manifest: Value, #[case] expected: &str) {
        let content = content(manifest);
        assert!(
            matches!(&content, Err(error) if error.contains(expected)),
            "{content:?}"
        );
    }
}
