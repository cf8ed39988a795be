//! Checks of image references: their syntax, and whether they are mutable.

/// Maximum length of a tag.
const MAX_TAG: usize = 128;

/// Returns the problem with the syntax of an image reference, and the remedy. Returns `None` if it is valid.
pub(super) fn problem(image: &str) -> Option<String> {
    if is_reference(image) {
        return None;
    }
    let remedy = if image.trim() != image {
        "leave out the space around it".to_owned()
    } else if let Some((scheme, _)) = image.split_once("://") {
        format!("leave out `{scheme}://`")
    } else if image.contains(['$', '{']) || image.contains("<no value>") {
        "a variable of a template was not filled in; write one as `ghcr.io/dask/dask:2026.8.0`".to_owned()
    } else if image.contains(['"', '\'', '“', '”', '„', '‘', '’']) {
        "leave out the quotation marks that are part of it".to_owned()
    } else if image.ends_with(':') {
        "write a tag after the colon".to_owned()
    } else if is_reference(&image.to_lowercase()) {
        "write its name in lower-case letters".to_owned()
    } else {
        "write one as `ghcr.io/dask/dask:2026.8.0`".to_owned()
    };
    Some(format!(
        "`{image}` can't be read as the name of an image: {remedy}"
    ))
}

/// Returns whether an image can change under the same name: it has no digest, and no tag or the tag `latest`.
pub(super) fn is_mutable(image: &str) -> bool {
    let name = image.rsplit('/').next().unwrap_or_default();
    !image.contains('@') && name.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

/// Returns whether a text is an image reference: a name, optionally with a registry, a tag and a digest.
fn is_reference(image: &str) -> bool {
    let (rest, digest) = image
        .split_once('@')
        .map_or((image, None), |(rest, digest)| (rest, Some(digest)));
    let (path, last) = rest
        .rsplit_once('/')
        .map_or((None, rest), |(path, last)| (Some(path), last));
    let (last, tag) = last
        .split_once(':')
        .map_or((last, None), |(last, tag)| (last, Some(tag)));
    let mut parts: Vec<&str> = path.into_iter().flat_map(|path| path.split('/')).collect();
    if parts.first().is_some_and(|first| is_registry(first)) {
        parts.remove(0);
    }
    parts.into_iter().chain([last]).all(is_part) && tag.is_none_or(is_tag) && digest.is_none_or(is_digest)
}

/// Returns whether the first part of a name is a registry.
fn is_registry(part: &str) -> bool {
    let names_one =
        part.contains(['.', ':']) || part == "localhost" || part.bytes().any(|c| c.is_ascii_uppercase());
    let is_inner = |c: u8| c.is_ascii_alphanumeric() || b"-.:[]".contains(&c);
    names_one && part.bytes().all(is_inner)
}

/// Returns whether a text is a valid part of a name.
fn is_part(part: &str) -> bool {
    let is_end = |c: Option<&u8>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let is_inner = |c: &u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"-_.".contains(c);
    let bytes = part.as_bytes();
    bytes.iter().all(is_inner) && is_end(bytes.first()) && is_end(bytes.last())
}

fn is_tag(tag: &str) -> bool {
    let is_inner = |c: u8| c.is_ascii_alphanumeric() || b"-_.".contains(&c);
    (1..=MAX_TAG).contains(&tag.len()) && tag.bytes().all(is_inner) && !tag.starts_with(['-', '.'])
}

fn is_digest(digest: &str) -> bool {
    let is_valid = |(algorithm, value): (&str, &str)| {
        !algorithm.is_empty() && !value.is_empty() && value.bytes().all(|c| c.is_ascii_hexdigit())
    };
    digest.split_once(':').is_some_and(is_valid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_references() {
        for valid in [
            "dask",
            "dask:1",
            "i:1",
            "ghcr.io/dask/dask:2026.8.0",
            "ghcr.io/dask/dask:2026.8.0-py3.13_a",
            "localhost:5000/dask",
            "localhost/dask",
            "Registry.Example/dask:A",
            "[::1]:5000/dask",
            "123456789012.dkr.ecr.eu-central-1.amazonaws.com/team/a__b/c-d:1",
            "dask@sha256:00",
            "dask:1@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        ] {
            assert_eq!(problem(valid), None, "{valid}");
        }
        for (image, remedy) in [
            ("<no value>:<no value>", "a variable of a template"),
            ("${REGISTRY}/dask:${TAG}", "a variable of a template"),
            ("{{ image }}", "a variable of a template"),
            ("“ghcr.io/dask/dask:1”", "leave out the quotation marks"),
            (" ghcr.io/dask/dask:1", "leave out the space"),
            ("https://ghcr.io/dask/dask:1", "leave out `https://`"),
            ("ghcr.io/dask/dask:", "write a tag"),
            ("ghcr.io/Dask/dask:1", "write its name in lower-case"),
            ("dask image", "write one as"),
            ("ghcr.io//dask", "write one as"),
            ("dask:1:2", "write one as"),
            ("dask@latest", "write one as"),
        ] {
            let message = problem(image).unwrap_or_default();
            assert!(message.contains(&format!(": {remedy}")), "{image}: {message}");
        }
    }

    #[test]
    fn recognises_mutable_tags() {
        for mutable in ["dask", "ghcr.io/dask/dask:latest", "localhost:5000/dask"] {
            assert!(is_mutable(mutable), "{mutable}");
        }
        for fixed in [
            "dask:2026.1.0",
            "localhost:5000/dask:1",
            "dask@sha256:00",
            "dask:latest@sha256:00",
        ] {
            assert!(!is_mutable(fixed), "{fixed}");
        }
    }
}
