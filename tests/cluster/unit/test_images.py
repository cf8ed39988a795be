"""Tests of image names, descriptions, layers and layouts."""

import io
import json
import re
import tarfile
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from localkube import images, oci, registry, rootfs
from localkube.console import Failure
from localkube.settings import Cluster


class Names(unittest.TestCase):
    """Image names in the registry."""

    def test_split(self):
        """The registry part of a name is removed in all its forms."""
        for name, wanted in {
            "dask/dask": ("dask/dask", "latest"), "dask/dask:latest": ("dask/dask", "latest"), "ghcr.io/dask/dask:1": ("dask/dask", "1"),
            "localhost/a:2": ("a", "2"), "localhost:5000/a/b": ("a/b", "latest"), "example.org:5000/a/b/c:v1.2": ("a/b/c", "v1.2"),
            "busybox": ("busybox", "latest"), "busybox:1.36": ("busybox", "1.36"), "docker.io/library/busybox": ("library/busybox", "latest"),
        }.items():
            with self.subTest(name):
                self.assertEqual(registry.split_name(name), wanted)

    def test_refused(self):
        """Names that no registry accepts are invalid."""
        for name in ("", "A/b", "../a", "a//b", "a:b:c", "a/b:.", "a b"):
            with self.subTest(name), self.assertRaises(ValueError):
                registry.split_name(name)

    def test_short_names(self):
        """A name without a slash is also stored under ``library/``, as on Docker Hub."""
        self.assertEqual(registry.repositories("busybox:1"), [("busybox", "1"), ("library/busybox", "1")])
        self.assertEqual(registry.repositories("a/b:1"), [("a/b", "1")])


class Descriptions(unittest.TestCase):
    """Parsing of descriptions, and building of layers and images."""

    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def write(self, name, text):
        """Write a file and return its path."""
        (self.folder / name).write_text(text)
        return self.folder / name

    def test_ours(self):
        """Every description in the repository can be parsed."""
        for path in images.DESCRIPTIONS.glob("*.toml"):
            with self.subTest(path.name):
                self.assertTrue(images.read(path).layers)

    def test_examples_have_the_image_of_the_local_cluster(self):
        """Examples and documentation pin the version of Dask in the local cluster, so that `apply` neither warns nor fails to pull."""
        image = images.read("dask")
        (packages,) = [layer.content["packages"] for layer in image.layers if layer.kind == "python"]
        version = dict(package.split("==") for package in packages if "==" in package)["dask"]
        self.assertEqual(image.aliases, (f"dask/dask:{version}",))
        root = images.DESCRIPTIONS.parents[2]
        manifests = [*(root / "examples").glob("*.yaml"), *(root / "plugins/examples").glob("*.yaml"), *(root / "host/author/templates").iterdir(),
                     *(root / "docs").rglob("*.md"), root / "README.md"]
        named = {(path.name, tag) for path in manifests for tag in re.findall(r"ghcr\.io/dask/dask:([\w.-]+)", path.read_text())}
        self.assertEqual({tag for _, tag in named}, {version}, named)

    def test_aliases(self):
        """An image can have several names, which images based on it do not inherit."""
        self.write("base.toml", 'name = "base"\naliases = ["base:1", "b"]\n[files]\n"/a" = {text = "a"}\n')
        self.assertEqual(images.read(self.folder / "base.toml").names, ("base", "base:1", "b"))
        self.assertEqual(images.read(self.write("top.toml", 'name = "top"\nbase = "base.toml"\n')).names, ("top",))

    def test_sources(self):
        """The source of a file can be overridden if the description has that file."""
        path = self.write("a.toml", 'name = "a/b"\n[files]\n"/tool" = { source = "tool", mode = "755" }\n')
        image = images.read(path, {"/tool": "/elsewhere/tool"})
        self.assertEqual(image.layers[0].content, {"/tool": {"source": "/elsewhere/tool", "mode": "755"}})
        with self.assertRaisesRegex(Failure, "has no file /other; it has /tool"):
            images.read(path, {"/other": "x"})

    def test_libraries(self):
        """The layer of libraries is below that of files, independently of the order in the description."""
        path = self.write("a.toml", 'name = "a/b"\n[files]\n"/a" = { text = "a" }\n[libraries]\npackages = ["libc6"]\n')
        self.assertEqual([layer.kind for layer in images.read(path).layers], ["libraries", "files"])

    def test_base(self):
        """The layers of the base come first, and the image's own settings override those of the base."""
        self.write("base.toml", 'name = "base"\n[debian]\nsuite = "bookworm"\npackages = ["python3"]\n[config]\nUser = "1"\nCmd = ["a"]\n')
        image = images.read(self.write("top.toml", 'name = "top"\nbase = "base.toml"\n[files]\n"/x" = {text = "x"}\n[config]\nCmd = ["b"]\n'))
        self.assertEqual([layer.kind for layer in image.layers], ["debian", "files"])
        self.assertEqual(image.settings, {"User": "1", "Cmd": ["b"]})

    def test_invalid(self):
        """An invalid description is refused with a message that names the file."""
        for text in ("", 'name = 1', 'name = "a"\nnonsense = 1', "= broken"):
            with self.subTest(text), self.assertRaisesRegex(Failure, "invalid.toml"):
                images.read(self.write("invalid.toml", text))

    def test_key(self):
        """The key of a layer changes if and only if one of its files, its description or a layer below changes."""
        (self.folder / "program").write_text("1")
        layer = images.Layer("files", {"/bin/program": {"source": "program", "mode": "755"}}, self.folder)
        first = layer.key("")
        self.assertEqual(first, layer.key(""))
        self.assertNotEqual(first, layer.key("below"))
        (self.folder / "program").write_text("2")
        self.assertNotEqual(first, layer.key(""))
        (self.folder / "program").unlink()
        with self.assertRaisesRegex(Failure, "program"):
            layer.key("")

    def test_key_of_libraries(self):
        """The key of a layer of libraries changes with the machine's Debian release."""
        layer = images.Layer("libraries", {"packages": ["libc6"]}, self.folder)
        keys = set()
        for version in ("12", "13"):
            with mock.patch.object(rootfs, "RELEASE", self.write("os-release", f"VERSION_ID={version}\n")):
                keys.add(layer.key(""))
        self.assertEqual(len(keys), 2)

    def test_image_of_files(self):
        """The layer, the configuration and the manifest of a built image are consistent."""
        image = images.read(self.write("tiny.toml", 'name = "tiny"\n[files]\n"/etc/motd" = {text = "hello"}\n"/a" = {link = "etc/motd"}\n[config]\nCmd = ["/x"]\n'))
        cache = images.Cache(self.folder / "cache")
        descriptor = cache.build(image)
        self.assertEqual(descriptor, cache.build(image))
        manifest = cache.blobs.json(descriptor["digest"])
        config = cache.blobs.json(manifest["config"]["digest"])
        self.assertEqual(config["rootfs"]["diff_ids"], [layer["digest"] for layer in manifest["layers"]])
        self.assertEqual(config["config"], {"Cmd": ["/x"]})
        with tarfile.open(cache.blobs.path(manifest["layers"][0]["digest"])) as layer:
            self.assertEqual(layer.extractfile("./etc/motd").read(), b"hello")
            self.assertEqual(layer.getmember("./a").linkname, "etc/motd")

    def test_stored(self):
        """A stored image has all its blobs in the registry's storage, and is listed under its names."""
        cluster = Cluster.create("unit", self.folder / "c")
        cache = images.Cache(self.folder / "cache")
        descriptor = cache.build(images.read(self.write("tiny.toml", 'name = "tiny"\n[files]\n"/x" = {text = "x"}\n')))
        registry.storage(cluster).mkdir(parents=True)
        for _ in range(2):  # storing again changes nothing
            registry.store(cluster, cache.blobs, descriptor, "example.org/tiny:1")
        self.assertEqual(registry.stored(cluster), ["library/tiny:1", "tiny:1"])
        blobs = {path.parent.name for path in registry.storage(cluster).glob("**/blobs/sha256/*/*/data")}
        self.assertEqual({f"sha256:{blob}" for blob in blobs}, {digest for digest, _ in oci.parts(cache.blobs, descriptor)})


class Layouts(unittest.TestCase):
    """OCI layouts."""

    def test_archive(self):
        """A tar archive with one image can be read."""
        with tempfile.TemporaryDirectory() as scratch:
            blobs = oci.Blobs(Path(scratch, "in/blobs"))
            descriptor = oci.add_image(blobs, [blobs.add(b"layer")], {}, "amd64")
            Path(scratch, "in/index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [descriptor]}))
            with tarfile.open(Path(scratch, "image.tar"), "w") as archive:
                archive.add(Path(scratch, "in"), ".")
            found, top = oci.open_layout(Path(scratch, "image.tar"), Path(scratch, "out"))
            self.assertEqual(top, descriptor)
            self.assertEqual(sum(1 for _ in oci.parts(found, top)), 3)

    def test_saved(self):
        """An archive that :func:`oci.save_layout` wrote can be read, and is also a Docker archive."""
        with tempfile.TemporaryDirectory() as scratch:
            blobs = oci.Blobs(Path(scratch, "blobs"))
            descriptor = oci.add_image(blobs, [blobs.add(b"layer")], {"User": "1"}, "amd64")
            oci.save_layout(blobs, descriptor, "a/b:1", Path(scratch, "image.tar"))
            found, top = oci.open_layout(Path(scratch, "image.tar"), Path(scratch, "out"))
            self.assertEqual(top["digest"], descriptor["digest"])
            self.assertEqual(top["annotations"]["io.containerd.image.name"], "a/b:1")
            self.assertEqual(sum(1 for _ in oci.parts(found, top)), 3)
            (image,) = json.loads(Path(scratch, "out/manifest.json").read_text())
            self.assertEqual(image["RepoTags"], ["a/b:1"])
            self.assertEqual([Path(scratch, "out", layer).read_bytes() for layer in image["Layers"]], [b"layer"])

    def test_no_layout(self):
        """An archive that is not a layout is refused."""
        with tempfile.TemporaryDirectory() as scratch:
            with tarfile.open(Path(scratch, "x.tar"), "w") as archive:
                archive.addfile(tarfile.TarInfo("x"), io.BytesIO())
            with self.assertRaisesRegex(ValueError, "index.json"):
                oci.open_layout(Path(scratch, "x.tar"), Path(scratch, "out"))


class EntryPoints(unittest.TestCase):
    """Programs of Python packages."""

    def test_console_scripts(self):
        """Names keep their case, extras are dropped, other groups are ignored."""
        text = "[console_scripts]\ndask = dask.__main__:main\nDask-X = a.b:c.d [extra]\n\n[dask_cli]\nworker = x:y\n"
        self.assertEqual(rootfs.console_scripts(text), {"dask": ("dask.__main__", "main"), "Dask-X": ("a.b", "c.d")})
        self.assertEqual(rootfs.console_scripts("[other]\nx = y:z\n"), {})
