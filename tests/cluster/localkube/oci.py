"""Container images as data: blobs by digest, a configuration and a manifest (OCI image specification 1.1)."""

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path

from . import machine

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
#: Layers stay uncompressed: they only travel inside one machine, and unpacking is what a pod waits for.
LAYER = "application/vnd.oci.image.layer.v1.tar"


class Blobs:
    """A folder of blobs, each named by its digest (``sha256/HEX``)."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def path(self, digest):
        """Where a blob is."""
        algorithm, _, value = digest.partition(":")
        return self.folder / algorithm / value

    def add(self, data):
        """Store bytes; returns their descriptor without a media type."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        path = self.path(digest)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_name(f".{path.name}.{os.getpid()}")
            draft.write_bytes(data)
            draft.replace(path)
        return {"digest": digest, "size": len(data)}

    def add_file(self, file):
        """Move a file in; returns its descriptor."""
        with open(file, "rb") as stream:
            digest = f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
        size = os.stat(file).st_size
        path = self.path(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(file, path)
        return {"digest": digest, "size": size}

    def json(self, digest):
        """A blob that is JSON."""
        return json.loads(self.path(digest).read_bytes())


def add_image(blobs, layers, settings, architecture):
    """Make an image of ``layers`` (descriptors, lowest first); returns the manifest's descriptor."""
    config = {"architecture": architecture, "os": "linux", "config": settings,
              "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]}}
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST,
                "config": {"mediaType": CONFIG, **blobs.add(_encode(config))},
                "layers": [{"mediaType": LAYER, **layer} for layer in layers]}
    return {"mediaType": MANIFEST, **blobs.add(_encode(manifest))}


def _encode(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def parts(blobs, descriptor):
    """Every blob below a manifest or an index, the manifest itself last, as ``(digest, is_manifest)``."""
    content = blobs.json(descriptor["digest"])
    for child in content.get("manifests", []):
        # An index may name platforms whose blobs are not here; a registry needs none of them.
        if blobs.path(child["digest"]).exists():
            yield from parts(blobs, child)
    for layer in [*([content["config"]] if "config" in content else []), *content.get("layers", [])]:
        yield layer["digest"], False
    yield descriptor["digest"], True


def save_layout(blobs, descriptor, name, archive):
    """Write an image as an archive of an OCI layout that is one of Docker's too, as Docker 25 and newer do it: for every engine, `crane`
    and `skopeo`."""
    archive = Path(archive)
    with tempfile.TemporaryDirectory(dir=archive.parent) as scratch:
        folder = Path(scratch) / "layout"
        for digest, _ in parts(blobs, descriptor):
            target = Blobs(folder / "blobs").path(digest)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(blobs.path(digest), target)
        (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        # Engines take the first for the image's name, `ctr` the second.
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
    """The blobs and the top descriptor of an OCI layout: a folder, or an archive that is unpacked into ``scratch``."""
    folder = Path(source)
    if not folder.is_dir():
        folder = Path(scratch)
        folder.mkdir(exist_ok=True)
        machine.run(["tar", "--extract", f"--file={source}", f"--directory={folder}", "--no-same-owner"])
    if not (folder / "index.json").exists():
        raise ValueError(f"{source} is no OCI image layout: it has no index.json (a `docker save` of Docker 25 or newer has one)")
    found = json.loads((folder / "index.json").read_bytes())["manifests"]
    if len(found) != 1:
        raise ValueError(f"{source} holds {len(found)} images, it must hold exactly one")
    return Blobs(folder / "blobs"), found[0]
