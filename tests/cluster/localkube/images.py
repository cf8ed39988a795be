"""Images from descriptions, and a cache of their layers keyed by the layers' inputs.

A description is a TOML file (``images/NAME.toml``)::

    name = "dask/dask:latest"        # name in the registry
    aliases = ["dask/dask:1"]        # optional: further names in the registry
    base = "dask.toml"               # optional: another description whose layers come first
    [debian]                         # optional: a layer from Debian packages
    suite = "bookworm"
    packages = ["python3"]
    [libraries]                      # optional: a layer with only the files of these packages of this machine's Debian, without
    packages = ["libc6"]             #   dependencies and maintainer scripts: for an image with one program
    [python]                         # optional: a layer from Python packages, for that Debian's Python
    packages = ["dask==2026.8.0"]
    scripts = {name = "module:function"}  # optional: programs that the packages do not declare themselves
    [files]                          # optional: a layer of single files; paths are relative to the description
    "/usr/bin/tool" = {source = "../target/release/tool", mode = "755"}
    "/etc/motd" = {text = "hello"}
    "/usr/bin/python" = {link = "python3"}
    "/pause" = {c = "pause.c"}
    [config]                         # optional: the image's settings, as in the OCI specification
    Entrypoint = ["tini", "--"]
"""

import dataclasses
import hashlib
import inspect
import json
import os
import shutil
import tempfile
import tomllib
from pathlib import Path

from . import locks, machine, oci, rootfs
from .console import Failure, step
from .settings import cache_home

DESCRIPTIONS = Path(__file__).resolve().parent.parent / "images"
#: Functions and constants that make a layer of each kind. The layer is rebuilt if the source of one of them changes.
RECIPES = {
    "debian": (rootfs.debian, rootfs.UNNEEDED),
    "libraries": (rootfs.libraries, rootfs.NOT_FOR_PROGRAMS),
    "python": (rootfs.python, rootfs.entry_points, rootfs.console_scripts),
    "files": (rootfs.files, rootfs.compile_c),
}
SECTIONS = {"name": str, "aliases": list, "base": str, "debian": dict, "libraries": dict, "python": dict, "files": dict, "config": dict}


@dataclasses.dataclass(frozen=True)
class Layer:
    """A layer to build: its kind, its section of the description, and the description's folder."""

    kind: str
    content: dict
    folder: Path

    def key(self, below):
        """Return a hash of the layer's inputs: its section, the files it names, its recipe, and ``below``, the key of the layers below."""
        digest = hashlib.sha256(json.dumps([self.kind, self.content, machine.architecture(), below], sort_keys=True).encode())
        for recipe in RECIPES[self.kind]:
            digest.update((inspect.getsource(recipe) if callable(recipe) else repr(recipe)).encode())
        if self.kind == "files":
            for entry in self.content.values():
                source = entry.get("source") or entry.get("c")
                if source:
                    digest.update(_content(self.folder / source))  # an absolute path replaces the folder
        if self.kind == "libraries":
            digest.update(_content(rootfs.RELEASE))  # a program that was linked on another release of Debian may need other libraries
        return digest.hexdigest()[:16]


def _content(path):
    try:
        return path.read_bytes()
    except OSError as error:
        raise Failure(f"an image needs {path}, which cannot be read: {error.strerror}") from None


@dataclasses.dataclass(frozen=True)
class Image:
    """A parsed description: names, layers from the lowest to the highest, settings."""

    name: str
    layers: tuple
    settings: dict
    aliases: tuple = ()

    @property
    def names(self):
        """All names of the image in a registry."""
        return (self.name, *self.aliases)


def read(path, sources=None):
    """Read a description and those that it is based on.

    ``sources`` maps paths in the image to files that replace those of the description.
    """
    path = Path(path)
    if not path.exists() and not path.suffix and (DESCRIPTIONS / f"{path}.toml").exists():
        path = DESCRIPTIONS / f"{path}.toml"
    try:
        text = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise Failure(f"there is no image description {path}") from None
    except tomllib.TOMLDecodeError as error:
        raise Failure(f"{path}: {error}") from None
    for key, value in text.items():
        if not isinstance(value, SECTIONS.get(key, ())):
            raise Failure(f"{path}: {key!r} is not one of {', '.join(SECTIONS)}, or has the wrong type")
    if "name" not in text:
        raise Failure(f"{path}: the image has no name")
    for name, source in (sources or {}).items():
        if name not in text.get("files", {}):
            raise Failure(f"{path} has no file {name}; it has {', '.join(text.get('files', {})) or 'none'}")
        text["files"][name] = {**text["files"][name], "source": str(Path(source).absolute())}
    base = read(path.parent / text["base"]) if "base" in text else Image("", (), {})
    layers = tuple(Layer(kind, text[kind], path.parent) for kind in ("debian", "libraries", "python", "files") if text.get(kind))
    return Image(text["name"], base.layers + layers, {**base.settings, **text.get("config", {})}, tuple(text.get("aliases", ())))


class Cache:
    """Cache of layers and images."""

    def __init__(self, home=None):
        self.home = (home or cache_home()) / "images"
        self.blobs = oci.Blobs(self.home / "blobs")

    def build(self, image):
        """Build the layers that are not cached, and return the descriptor of the image's manifest."""
        self.home.mkdir(parents=True, exist_ok=True)
        with open(self.home / "lock", "w", encoding="ascii") as lock:
            locks.acquire(lock, lambda: "another image is being built")
            for abandoned in self.home.glob("layer-*"):
                shutil.rmtree(abandoned, ignore_errors=True)  # left by a killed process, because this process holds the lock
            descriptors, key = [], ""
            for number, layer in enumerate(image.layers):
                key = layer.key(key)
                found = self._recall(key)
                if not found:
                    with step(f"make layer {number + 1} of {len(image.layers)} of image {image.name} ({layer.kind})") as note:
                        found = self._make(layer, descriptors)
                        note(f"{found['size'] / 1e6:.0f} MB")
                    self._remember(key, found)
                descriptors.append(found)
            return oci.add_image(self.blobs, descriptors, image.settings, machine.architecture())

    def _recall(self, key):
        try:
            found = json.loads((self.home / "layers" / f"{key}.json").read_text())
        except (FileNotFoundError, ValueError):
            return None
        return found if self.blobs.path(found["digest"]).exists() else None

    def _remember(self, key, descriptor):
        file = self.home / "layers" / f"{key}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(descriptor))
        draft.replace(file)

    def _make(self, layer, below):
        work = Path(tempfile.mkdtemp(prefix="layer-", dir=self.home))
        try:
            archive, folder = work / "layer.tar", work / "layer"
            folder.mkdir(mode=0o755)
            if layer.kind == "debian":
                rootfs.debian(archive, layer.content.get("suite", "bookworm"), layer.content["packages"])
            else:
                if layer.kind == "python":
                    for descriptor in below:
                        rootfs.unpack(self.blobs.path(descriptor["digest"]), work / "root")
                    rootfs.python(work / "root", folder, layer.content["packages"], layer.content.get("scripts", {}))
                elif layer.kind == "libraries":
                    rootfs.libraries(folder, layer.content["packages"])
                else:
                    rootfs.files(folder, layer.content, layer.folder)
                rootfs.pack(folder, archive)
            return self.blobs.add_file(archive)
        finally:
            shutil.rmtree(work)
