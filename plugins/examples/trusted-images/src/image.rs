//! Names of images.

use std::borrow::Cow;

use crate::Rewrite;

/// The name with everything that may be left out: `python:3` is `docker.io/library/python:3`.
fn whole(image: &str) -> Cow<'_, str> {
    match image.split_once('/') {
        // Only a registry has a dot or a port in it.
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => Cow::Borrowed(image),
        Some(_) => Cow::Owned(format!("docker.io/{image}")),
        None => Cow::Owned(format!("docker.io/library/{image}")),
    }
}

/// What follows a registry, folder or image in a whole name; none if the name does not begin with it.
fn rest<'a>(whole: &'a str, place: &str) -> Option<&'a str> {
    let rest = whole.strip_prefix(place.trim_end_matches('/'))?;
    (rest.is_empty() || rest.starts_with(['/', ':', '@'])).then_some(rest)
}

/// Whether an image is from there.
pub(crate) fn is_from(image: &str, place: &str) -> bool {
    rest(&whole(image), place).is_some()
}

/// The name of the image that is pulled instead, if there is one.
pub(crate) fn rewrite(image: &str, rewrites: &[Rewrite]) -> Option<String> {
    let whole = whole(image);
    let (to, rest) = rewrites
        .iter()
        // What has been rewritten stays as it is, even where both names begin alike.
        .filter(|rewrite| rest(&whole, &rewrite.to).is_none())
        .find_map(|rewrite| Some((&rewrite.to, rest(&whole, &rewrite.from)?)))?;
    Some(format!("{}{rest}", to.trim_end_matches('/')))
}

/// Whether its tag may name another image tomorrow.
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
    fn where_images_are_from() {
        for (image, place, expected) in [
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
            assert_eq!(is_from(image, place), expected, "{image} from {place}");
        }
    }

    #[test]
    fn rewriting() {
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
    fn tags_that_move() {
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
