"""The image registry inside the cluster: Debian's ``docker-registry``, the mirror for every registry name.

An image stored here under ``dask/dask:latest`` is what ``ghcr.io/dask/dask:latest`` or ``quay.io/dask/dask:latest`` pulls.
An image can have several names there. Its storage is plain files, so an image from the cache is stored by hard links, in no time, also while it runs.
"""

import contextlib
import os
import re
import shutil

from . import oci
from .components import Component, answers
from .settings import REGISTRY_PORT


def component(cluster, program):
    """The registry itself. No blob cache: images also arrive behind its back, see :func:`store`."""
    configuration = cluster.path("registry.yaml")
    configuration.write_text(f"""version: 0.1
log: {{level: warn, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {storage(cluster)}}}
  delete: {{enabled: true}}
http:
  addr: {cluster.node_address}:{REGISTRY_PORT}
""")
    storage(cluster).mkdir(exist_ok=True)
    return Component("registry", [program, "serve", configuration], answers(f"http://{cluster.registry}/v2/"))


def storage(cluster):
    """The registry's files."""
    return cluster.path("registry")


def split_name(name):
    """Repository and tag of an image name; a registry in front of it is dropped, for this registry stands for all.

    As everywhere, the first part is a registry when it has a dot or a colon or is ``localhost``. Docker Hub's short
    names lie under ``library/``.
    """
    path, _, last = name.rpartition("/")
    last, _, tag = last.partition(":")
    first, _, rest = path.partition("/")
    if re.fullmatch(r"localhost|[a-z0-9-]+(\.[a-z0-9-]+)+(:\d+)?|[a-z0-9-]+:\d+", first):
        path = rest
    repository, tag = f"{path}/{last}" if path else last, tag or "latest"
    part = "[a-z0-9]+(?:[._-]+[a-z0-9]+)*"
    if not re.fullmatch(f"{part}(?:/{part})*", repository) or not re.fullmatch(r"\w[\w.-]{0,127}", tag):
        raise ValueError(f"{name!r} is no image name (it looks like repository/name:tag)")
    return repository, tag


def repositories(name):
    """Where an image is stored: short names also where Docker Hub's clients look."""
    repository, tag = split_name(name)
    return [(repository, tag)] + ([(f"library/{repository}", tag)] if "/" not in repository else [])


def store(cluster, blobs, descriptor, name):
    """Put an image into the registry's storage under a name."""
    root = storage(cluster) / "docker/registry/v2"
    for repository, tag in repositories(name):
        folder = root / "repositories" / repository
        for digest, is_manifest in oci.parts(blobs, descriptor):
            algorithm, _, value = digest.partition(":")
            _place(blobs.path(digest), root / "blobs" / algorithm / value[:2] / value / "data")
            _link(folder / ("_manifests/revisions" if is_manifest else "_layers") / algorithm / value / "link", digest)
        algorithm, _, value = descriptor["digest"].partition(":")
        _link(folder / "_manifests/tags" / tag / "index" / algorithm / value / "link", descriptor["digest"])
        _link(folder / "_manifests/tags" / tag / "current/link", descriptor["digest"])


def _place(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        try:
            os.link(source, target)
        except OSError as error:
            if isinstance(error, FileExistsError):
                raise
            draft = target.with_name("data.part")  # another file system
            shutil.copyfile(source, draft)
            draft.replace(target)


def _link(file, digest):
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name("link.part")
    draft.write_text(digest)
    draft.replace(file)


def stored(cluster):
    """Names of all images in the registry."""
    tags = (storage(cluster) / "docker/registry/v2/repositories").glob("**/_manifests/tags/*")
    base = storage(cluster) / "docker/registry/v2/repositories"
    return sorted(f"{tag.parent.parent.parent.relative_to(base)}:{tag.name}" for tag in tags)
