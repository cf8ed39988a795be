//! Functions on image names. Pure.

use std::borrow::Cow;

use crate::Rewrite;

/// Returns an image name with all optional parts: `docker.io/library/python:3` for `python:3`.
fn whole(image: &str) -> Cow<'_, str> {
    match image.split_once('/') {
        // Only a registry contains a dot or a port.
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => Cow::Borrowed(image),
        Some(_) => Cow::Owned(format!("docker.io/{image}")),
        None => Cow::Owned(format!("docker.io/library/{image}")),
    }
}

/// Returns the rest of a complete name after a registry, folder or image. Returns `None` if the name is not below `prefix`.
fn rest<'a>(whole: &'a str, prefix: &str) -> Option<&'a str> {
    let rest = whole.strip_prefix(prefix.trim_end_matches('/'))?;
    (rest.is_empty() || rest.starts_with(['/', ':', '@'])).then_some(rest)
}

/// Returns whether an image comes from a registry, folder or image.
pub(crate) fn is_from(image: &str, prefix: &str) -> bool {
    rest(&whole(image), prefix).is_some()
}

/// Returns the new name of an image, or `None` if no rewrite applies.
pub(crate) fn rewrite(image: &str, rewrites: &[Rewrite]) -> Option<String> {
    let whole = whole(image);
    let (to, rest) = rewrites
        .iter()
        // A rewritten name stays as it is, even if `from` is a prefix of `to`.
        .filter(|rewrite| rest(&whole, &rewrite.to).is_none())
        .find_map(|rewrite| Some((&rewrite.to, rest(&whole, &rewrite.from)?)))?;
    Some(format!("{}{rest}", to.trim_end_matches('/')))
}

/// Returns whether the image's tag may name another image later: it has no tag and no digest, or the tag is `latest`.
pub(crate) fn is_mutable(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_registries_and_folders() {
        for (image, prefix, expected) in [
            ("ghcr.io/dask/dask:1", "ghcr.io", true),
            ("ghcr.io/dask/dask:1", "ghcr.io/dask/", true),
            ("ghcr.io/dask/dask:1", "ghcr.io/dask/dask", true),
            ("ghcr.io/dask/dask@sha256:0", "ghcr.io/dask/dask", true),
            ("ghcr.io/dask-evil/dask:1", "ghcr.io/dask", false),
            ("ghcr.io.evil.com/dask", "ghcr.io", false),
            ("python", "docker.io/library", true),
            ("daskdev/dask", "docker.io", true),
            ("localhost/x", "docker.io", false),
            ("registry:5000/x", "registry", true),
        ] {
            assert_eq!(is_from(image, prefix), expected, "{image} from {prefix}");
        }
    }

    #[test]
    fn rewrites_names_once() {
        let rewrites = [
            Rewrite {
                from: "docker.io/library".into(),
                to: "mirror.example.com/official/".into(),
            },
            Rewrite {
                from: "docker.io".into(),
                to: "docker.io/mirrored".into(),
            },
        ];
        for (image, expected) in [
            ("python:3", Some("mirror.example.com/official/python:3")),
            ("daskdev/dask", Some("docker.io/mirrored/daskdev/dask")),
            ("docker.io/mirrored/daskdev/dask", None),
            ("mirror.example.com/official/python:3", None),
            ("ghcr.io/x", None),
        ] {
            assert_eq!(rewrite(image, &rewrites).as_deref(), expected, "{image}");
        }
    }

    #[test]
    fn recognises_mutable_tags() {
        for (image, expected) in [
            ("a", true),
            ("registry:5000/a", true),
            ("a:latest", true),
            ("a:1", false),
            ("a@sha256:0", false),
        ] {
            assert_eq!(is_mutable(image), expected, "{image}");
        }
    }
}
