//! What the manifest of an image says, as far as it matters here.

use serde::Deserialize;

use super::{FORMER_LAYERS, LAYER};

/// Types of manifests: of an image, and of an index of images.
pub(super) const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_IMAGE: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// All that are understood, for the header `Accept`.
pub(super) const ACCEPTED: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

/// A manifest of either type.
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

/// A layer of an image.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Layer {
    media_type: String,
    pub(super) digest: String,
    pub(super) size: u64,
}

/// An image of an index.
#[derive(Debug, Deserialize)]
struct Entry {
    digest: String,
    platform: Option<Platform>,
}

#[derive(Debug, Deserialize)]
struct Platform {
    architecture: String,
}

/// What a manifest leads to.
#[derive(Debug)]
pub(super) enum Content {
    /// The layer that is a component.
    Layer(Layer),
    /// An image, by the digest of its manifest.
    Image(String),
}

impl Manifest {
    /// What it leads to. The error says what it is instead of a component's.
    pub(super) fn content(self) -> Result<Content, String> {
        if self.schema_version != 2 {
            return Err(format!(
                "its manifest is of the version {}, not 2",
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
            let image = webassembly(&self.manifests);
            return image.map(Content::Image).ok_or_else(|| {
                "it is an index of several images, none of them of the architecture wasm".to_owned()
            });
        }
        match self.layers.as_slice() {
            [layer] if layer.media_type == LAYER || FORMER_LAYERS.contains(&layer.media_type.as_str()) => {
                Ok(Content::Layer(layer.clone()))
            }
            layers => {
                // A registry may say of a layer, and of so many, whatever it wants.
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
                    "an image of one has a single layer of the type {LAYER}, this one has {types}"
                ))
            }
        }
    }
}

/// Of an index, the image for WebAssembly.
fn webassembly(entries: &[Entry]) -> Option<String> {
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
    #[case(json!({"layers": [{"mediaType": FORMER_LAYERS[0], "digest": "a", "size": 1}]}), "layer a")]
    #[case(json!({"mediaType": INDEX, "manifests": [{"digest": "a"}]}), "image a")]
    #[case(
        json!({"manifests": [
            {"digest": "a", "platform": {"architecture": "amd64", "os": "linux"}},
            {"digest": "b", "platform": {"architecture": "wasm", "os": "wasip2"}},
        ]}),
        "image b"
    )]
    fn leads_to(#[case] manifest: Value, #[case] expected: &str) {
        assert_eq!(content(manifest).as_deref(), Ok(expected));
    }

    #[rstest]
    #[case(json!({}), "this one has none")]
    #[case(json!({"mediaType": "text/html"}), "of the type text/html")]
    #[case(json!({"mediaType": INDEX, "manifests": []}), "none of them of the architecture wasm")]
    #[case(json!({"layers": [{"mediaType": "tar", "digest": "a", "size": 1}]}), "this one has tar")]
    #[case(json!({"layers": vec![json!({"mediaType": "t", "digest": "a", "size": 1}); 9]}), "this one has 9, t, t, t, t, t …")]
    fn is_something_else(#[case] manifest: Value, #[case] expected: &str) {
        let content = content(manifest);
        assert!(
            matches!(&content, Err(error) if error.contains(expected)),
            "{content:?}"
        );
    }
}
