"""The image registry inside the cluster: Debian's ``docker-registry``, configured as the mirror of every registry name.

An image that is stored here as ``dask/dask:latest`` is pulled as ``ghcr.io/dask/dask:latest`` or ``quay.io/dask/dask:latest``.
An image can have several names. The registry's storage consists of plain files, so an image from the cache is stored by hard links,
which takes no time and also works while the registry runs.
"""

import contextlib
import os
import re
import shutil

from . import oci
from .components import Component, answers
from .settings import REGISTRY_PORT


def component(cluster, program):
    """Return the registry component. It has no blob cache, because :func:`store` writes to its storage directly."""
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
    """Return the folder of the registry's storage."""
    return cluster.path("registry")


def split_name(name):
    """Return the repository and the tag of an image name, without the registry part: this registry mirrors all registries.

    As usual, the first part is a registry if it has a dot or a colon or is ``localhost``. Docker Hub's short names are under
    ``library/``. Raises ``ValueError`` if the name is invalid.
    """
    path, _, last = name.rpartition("/")
    last, _, tag = last.partition(":")
    first, _, rest = path.partition("/")
    if re.fullmatch(r"localhost|[a-z0-9-]+(\.[a-z0-9-]+)+(:\d+)?|[a-z0-9-]+:\d+", first):
        path = rest
    repository, tag = f"{path}/{last}" if path else last, tag or "latest"
    part = "[a-z0-9]+(?:[._-]+[a-z0-9]+)*"
    if not re.fullmatch(f"{part}(?:/{part})*", repository) or not re.fullmatch(r"\w[\w.-]{0,127}", tag):
        raise ValueError(f"{name!r} is not an image name (the format is repository/name:tag)")
    return repository, tag


def repositories(name):
    """Return the repositories and tags for an image name: for a short name also that of Docker Hub, under ``library/``."""
    repository, tag = split_name(name)
    return [(repository, tag)] + ([(f"library/{repository}", tag)] if "/" not in repository else [])


def store(cluster, blobs, descriptor, name):
    """Store an image in the registry under a name."""
    root = storage(cluster) / "docker/registry/v2"
    for repository, tag in repositories(name):
        folder = root / "repositories" / repository
        for digest, is_manifest in oci.parts(blobs, descriptor):
            algorithm, _, value = digest.partition(":")
            _copy(blobs.path(digest), root / "blobs" / algorithm / value[:2] / value / "data")
            _link(folder / ("_manifests/revisions" if is_manifest else "_layers") / algorithm / value / "link", digest)
        algorithm, _, value = descriptor["digest"].partition(":")
        _link(folder / "_manifests/tags" / tag / "index" / algorithm / value / "link", descriptor["digest"])
        _link(folder / "_manifests/tags" / tag / "current/link", descriptor["digest"])


def _copy(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        try:
            os.link(source, target)
        except OSError as error:
            if isinstance(error, FileExistsError):
                raise
            draft = target.with_name("data.part")  # a hard link is not possible, for example on another file system
            shutil.copyfile(source, draft)
            draft.replace(target)


def _link(file, digest):
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name("link.part")
    draft.write_text(digest)
    draft.replace(file)


def stored(cluster):
    """Return the sorted names of all images in the registry."""
    tags = (storage(cluster) / "docker/registry/v2/repositories").glob("**/_manifests/tags/*")
    base = storage(cluster) / "docker/registry/v2/repositories"
    return sorted(f"{tag.parent.parent.parent.relative_to(base)}:{tag.name}" for tag in tags)
