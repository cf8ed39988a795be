"""Container images as blobs by digest, with a configuration and a manifest (OCI image specification 1.1)."""

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path

from . import machine

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
#: Media type of layers. They are uncompressed: they are not sent over a network, and a pod's start waits for the unpacking.
LAYER = "application/vnd.oci.image.layer.v1.tar"


class Blobs:
    """A folder of blobs, each named by its digest (``sha256/HEX``)."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def path(self, digest):
        """Return the path of a blob, whether it exists or not."""
        algorithm, _, value = digest.partition(":")
        return self.folder / algorithm / value

    def add(self, data):
        """Store bytes, and return their descriptor without a media type."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        path = self.path(digest)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_name(f".{path.name}.{os.getpid()}")
            draft.write_bytes(data)
            draft.replace(path)
        return {"digest": digest, "size": len(data)}

    def add_file(self, file):
        """Move a file into the folder, and return its descriptor without a media type."""
        with open(file, "rb") as stream:
            digest = f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
        size = os.stat(file).st_size
        path = self.path(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(file, path)
        return {"digest": digest, "size": size}

    def json(self, digest):
        """Return the content of a JSON blob."""
        return json.loads(self.path(digest).read_bytes())


def add_image(blobs, layers, settings, architecture):
    """Create an image of ``layers`` (descriptors, lowest first), and return the descriptor of its manifest."""
    config = {"architecture": architecture, "os": "linux", "config": settings,
              "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]}}
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST,
                "config": {"mediaType": CONFIG, **blobs.add(_encode(config))},
                "layers": [{"mediaType": LAYER, **layer} for layer in layers]}
    return {"mediaType": MANIFEST, **blobs.add(_encode(manifest))}


def _encode(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def parts(blobs, descriptor):
    """Yield every blob below a manifest or an index, and then the manifest itself, as ``(digest, is_manifest)``."""
    content = blobs.json(descriptor["digest"])
    for child in content.get("manifests", []):
        # An index may name platforms whose blobs are not in the folder; a registry does not need them.
        if blobs.path(child["digest"]).exists():
            yield from parts(blobs, child)
    for layer in [*([content["config"]] if "config" in content else []), *content.get("layers", [])]:
        yield layer["digest"], False
    yield descriptor["digest"], True


def save_layout(blobs, descriptor, name, archive):
    """Write an image as a tar archive that is both an OCI layout and a Docker archive, as `docker save` of Docker 25 and newer does.

    All engines, `crane` and `skopeo` can read it.
    """
    archive = Path(archive)
    with tempfile.TemporaryDirectory(dir=archive.parent) as scratch:
        folder = Path(scratch) / "layout"
        for digest, _ in parts(blobs, descriptor):
            target = Blobs(folder / "blobs").path(digest)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(blobs.path(digest), target)
        (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        # Engines read the image's name from the first annotation, `ctr` from the second.
        annotations = {"org.opencontainers.image.ref.name": name.rpartition(":")[2], "io.containerd.image.name": name}
        (folder / "index.json").write_bytes(_encode({"schemaVersion": 2, "manifests": [{**descriptor, "annotations": annotations}]}))
        manifest = blobs.json(descriptor["digest"])
        paths = ["blobs/" + part["digest"].replace(":", "/") for part in (manifest["config"], *manifest["layers"])]
        (folder / "manifest.json").write_bytes(_encode([{"Config": paths[0], "RepoTags": [name], "Layers": paths[1:]}]))
        draft = Path(scratch) / "layout.tar"
        machine.run(["tar", "--create", f"--file={draft}", "--sort=name", "--numeric-owner", "--owner=0", "--group=0", "--mtime=@0", f"--directory={folder}",
                     "oci-layout", "index.json", "manifest.json", "blobs"])
        draft.replace(archive)


def open_layout(source, scratch):
    """Return the blobs and the top descriptor of an OCI layout. An archive is unpacked into ``scratch``.

    Raises ``ValueError`` if ``source`` is not a layout with exactly one image.
    """
    folder = Path(source)
    if not folder.is_dir():
        folder = Path(scratch)
        folder.mkdir(exist_ok=True)
        machine.run(["tar", "--extract", f"--file={source}", f"--directory={folder}", "--no-same-owner"])
    if not (folder / "index.json").exists():
        raise ValueError(f"{source} is not an OCI image layout: it has no index.json (a `docker save` of Docker 25 or newer has one)")
    found = json.loads((folder / "index.json").read_bytes())["manifests"]
    if len(found) != 1:
        raise ValueError(f"{source} contains {len(found)} images, but must contain exactly one")
    return Blobs(folder / "blobs"), found[0]
