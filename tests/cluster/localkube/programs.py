"""The third-party programs that the cluster, the demonstration, the tests and the documentation use.

This is the only module that knows where they come from. :func:`ensure` makes them and returns their paths; whoever uses one
asks for it there, and nothing is taken from the PATH because it happens to be on it.

Most are built from Go modules with the ordinary client. Each folder under ``tools/`` is a Go module whose ``go.mod``/``go.sum``
pin every version. Its ``tool`` lines name the programs; CoreDNS has a ``main.go`` instead, which names its plugins. The cache's
key is the content of these files and how they are built, so a changed pin builds anew. The others are unpacked from Debian's
packages: installing them would start services.
"""

import dataclasses
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import time
from pathlib import Path

from . import machine
from .console import Failure, Progress, say, seconds
from .settings import cache_home

TOOLS = Path(__file__).resolve().parent.parent / "tools"


@dataclasses.dataclass(frozen=True)
class Program:
    """A program that is built: the tools module that pins it and the Go package that it is built from."""

    name: str
    module: str
    package: str


@dataclasses.dataclass(frozen=True)
class Unpacked:
    """A program that is unpacked from the Debian package of the same name."""

    name: str

    def folder(self):
        """The folder into which the package is unpacked, named after the release of Debian that it is from."""
        release = platform.freedesktop_os_release().get("VERSION_CODENAME", "unknown")
        return cache_home() / "debian" / f"{self.name}-{release}-{machine.architecture()}"

    def path(self):
        """The path of the program."""
        return self.folder() / "usr" / "bin" / self.name


def _built():
    kubernetes = ("kube-apiserver", "kubectl", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")
    containerd = ("containerd", "containerd-shim-runc-v2", "ctr")
    cni = {"bridge": "main", "loopback": "main", "host-local": "ipam", "portmap": "meta"}
    yield Program("etcd", "etcd", "go.etcd.io/etcd/server/v3")
    yield from (Program(name, "kubernetes", f"k8s.io/kubernetes/cmd/{name}") for name in kubernetes)
    yield from (Program(name, "containerd", f"github.com/containerd/containerd/v2/cmd/{name}") for name in containerd)
    yield from (Program(name, "cni", f"github.com/containernetworking/plugins/plugins/{kind}/{name}") for name, kind in cni.items())
    yield Program("kwok", "kwok", "sigs.k8s.io/kwok/cmd/kwok")
    yield Program("coredns", "coredns", "dask.org/operator/tests/cluster/coredns")
    yield Program("helm", "helm", "helm.sh/helm/v4/cmd/helm")
    yield Program("crane", "crane", "github.com/google/go-containerregistry/cmd/crane")


#: Every program; those that are built in the order of building: what the control plane needs comes first.
BUILT = {program.name: program for program in _built()}
UNPACKED = {"docker-registry": Unpacked("docker-registry")}
PROGRAMS = {**BUILT, **UNPACKED}
CONTROL_PLANE = ("etcd", "kube-apiserver", "kubectl", "kube-controller-manager", "kube-scheduler")
FAKE_NODES = ("kwok",)
#: What a caller may ask for by name. A cluster with a node has all: the clients too, which its kubeconfig promises to
#: have in the PATH, and kwok, which takes longer to build later, when Go's caches are gone.
SETS = {"control-plane": CONTROL_PLANE, "all": tuple(PROGRAMS)}
#: Bytes on disk that building all needs: modules, Go's build cache, programs.
ROOM = 10 << 30
#: What `KUBEBUILDER_ASSETS` (the folder of setup-envtest) has.
ASSETS = ("etcd", "kube-apiserver", "kubectl")


def version(module, tools=TOOLS):
    """The version that a tools module pins."""
    return pinned_version((tools / module / "go.mod").read_text())


def pinned_version(go_mod):
    """The version of the module that the first ``tool`` line's package is in: of all requirements, the longest prefix of it.

    Without a ``tool`` line it is the version of the one direct requirement.
    """
    tool = re.search(r"^tool\s\(?\s*(\S+/\S+)$", go_mod, re.MULTILINE)
    package = tool.group(1) if tool else re.search(r"^require (\S+) v\S+$", go_mod, re.MULTILINE).group(1)
    required = re.findall(r"^(?:require\s+|\t)(\S+) (v\S+)(?: // indirect)?$", go_mod, re.MULTILINE)
    inside = [(len(name), pinned) for name, pinned in required if package == name or package.startswith(f"{name}/")]
    return max(inside)[1]


#: No debug information: it is not used, and takes time to make.
COMPILER_FLAGS = "all=-dwarf=false"


def linker_flags(module, pinned):
    """``-ldflags``: no symbol tables (half the size), and the version that the program reports about itself.

    Without a stamp the API server says v0.0.0, which kubectl, helm and the kubelet take for incompatible.
    """
    stamps = {
        "containerd": {"github.com/containerd/containerd/v2/version.Version": pinned},
        "cni": {"github.com/containernetworking/plugins/pkg/utils/buildversion.BuildVersion": pinned},
        "kwok": {"sigs.k8s.io/kwok/pkg/consts.Version": pinned},
        "helm": {"helm.sh/helm/v4/internal/version.version": pinned},
        "crane": {"github.com/google/go-containerregistry/cmd/crane/cmd.Version": pinned},
    }.get(module, {})
    if module == "kubernetes":
        major, minor = pinned.lstrip("v").split(".")[:2]
        for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version"):
            values = {"gitVersion": pinned, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
            stamps.update({f"{package}.{name}": value for name, value in values.items()})
    return " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in stamps.items())])


def cache_folder(module, tools=TOOLS, home=None):
    """Where a module's programs are cached, named so that a person sees the version."""
    pinned = version(module, tools)
    key = hashlib.sha256(f"{machine.architecture()} {COMPILER_FLAGS} {linker_flags(module, pinned)}".encode())
    for file in sorted((tools / module).iterdir()):
        key.update(file.read_bytes())
    return (home or cache_home()) / "bin" / f"{module}-{pinned}-{key.hexdigest()[:12]}"


def _place(name):
    """Where a program is or will be. `KUBEBUILDER_ASSETS` wins for the programs that it has."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets and name in ASSETS:
        prebuilt = Path(assets).absolute() / name
        if not prebuilt.exists():
            raise Failure(f"KUBEBUILDER_ASSETS is set, but {prebuilt} does not exist; unset it to build {name}")
        return prebuilt
    program = PROGRAMS[name]
    return program.path() if isinstance(program, Unpacked) else cache_folder(program.module) / name


def ensure(names):
    """Make what is not cached yet. Returns the path of each program."""
    paths = {name: _place(name) for name in names}
    if all(path.exists() for path in paths.values()):
        return paths
    home = cache_home()
    home.mkdir(parents=True, exist_ok=True)
    with open(home / "build.lock", "w", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("  … another build is under way: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        for name, program in UNPACKED.items():
            if name in paths and not paths[name].exists():
                _unpack(program)
        missing = [name for name in BUILT if name in paths and not paths[name].exists()]
        if missing:
            _build_all(missing, home / "go")
    return paths


def link(paths, folder):
    """Put links to programs into a folder for a PATH, and nothing else."""
    folder.mkdir(exist_ok=True)
    for name, path in paths.items():
        if name in BUILT and BUILT[name].module == "cni":
            continue  # one of them is called `bridge`, like a program of iproute2
        place = folder / name
        place.unlink(missing_ok=True)
        place.symlink_to(path)


def shadow(folder):
    """Put a program of each name into a folder that fails and says that it was not requested.

    With that folder first in the PATH, what is used without asking :func:`ensure` for it fails on every machine, also where
    somebody has installed it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, program in PROGRAMS.items():
        if isinstance(program, Program) and program.module == "cni":
            continue
        place = folder / name
        place.write_text(f'#!/bin/sh\necho "{name}: it was not requested; python3 tests/cluster build {name} makes it and prints its path" >&2\nexit 127\n')
        place.chmod(0o755)


def _unpack(program):
    folder = program.folder()
    draft = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    machine.unpack_package(program.name, draft)
    shutil.rmtree(folder, ignore_errors=True)
    draft.replace(folder)


def _build_all(missing, caches):
    if not shutil.which("go"):
        raise Failure("Go (1.26 or newer) is missing: install it so that the cluster's programs can be built")
    say(f"  building {len(missing)} program(s) once, from Go modules: {', '.join(missing)}")
    if len(missing) > 5:
        say("  (about 12 minutes on 2 processors for all of them)")
        free = shutil.disk_usage(caches.parent).free
        if free < ROOM:
            raise Failure(f"building needs {ROOM >> 30} GB of disk for a while, and {caches.parent} has {free >> 30} GB free; XDG_CACHE_HOME can name another place")
    for names in _batches(missing):
        _build([BUILT[name] for name in names], caches)
    # Go's own caches take some 7 GB. They are kept while a module that shares packages with these is still to be built.
    if all(_place(name).exists() for name in BUILT):
        drop(caches)


def drop(caches):
    """Remove Go's caches behind the scenes: a hundred thousand files take minutes on some disks, and nobody waits for that."""
    if caches.exists():
        say("  dropping Go's build and module caches (several GB) in the background")
        doomed = caches.with_name(f".{caches.name}.{os.getpid()}.old")
        caches.rename(doomed)
        subprocess.Popen(["nice", "-n", "19", "rm", "-rf", "--", *map(str, caches.parent.glob(f".{caches.name}.*.old"))],
                         stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def _batches(names):
    """Programs to build in one call of Go: neighbours of one module, the control plane on its own so that it is there early."""
    batches = []
    for name in names:
        key = (BUILT[name].module, name in CONTROL_PLANE)
        if batches and batches[-1][0] == key:
            batches[-1][1].append(name)
        else:
            batches.append((key, [name]))
    return [batch for _, batch in batches]


def go_environment(caches):
    """Caches of our own, writable so that they can be removed; programs without C, so that no C compiler or library is needed."""
    return {**os.environ, "CGO_ENABLED": "0", "GOCACHE": str(caches / "build"), "GOMODCACHE": str(caches / "mod"),
            "GOWORK": "off", "GOFLAGS": "-modcacherw -buildvcs=false -mod=readonly"}


def _build(programs, caches):
    module = programs[0].module
    pinned, folder = version(module), cache_folder(module)
    title = f"build {', '.join(program.name for program in programs)} {pinned}"
    draft = folder.parent / f".{folder.name}.part"
    draft.mkdir(parents=True, exist_ok=True)
    # A program's file name is by default its package's last part; ending in "/" makes -o a folder.
    argv = ["nice", "-n", "5", "go", "build", "-v", "-trimpath", "-gcflags", COMPILER_FLAGS,
            "-ldflags", linker_flags(module, pinned), "-o", f"{draft}/", *(program.package for program in programs)]
    progress, last, counts = Progress(title), [], {"downloaded": 0, "compiled": 0}
    started = time.monotonic()
    say(f"    … {title}")
    with subprocess.Popen(argv, cwd=TOOLS / module, env=go_environment(caches), stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as go:
        for line in go.stderr:
            if line.startswith("go: downloading"):
                counts["downloaded"] += 1
            elif re.fullmatch(r"[\w./~-]+\n", line):
                counts["compiled"] += 1
            else:
                last = (last + [line.rstrip()])[-12:]
            progress.tick(f"{counts['downloaded']} modules downloaded, {counts['compiled']} packages compiled")
    if go.returncode != 0:
        raise Failure(f"{title} failed; Go said:\n" + "\n".join(f"    | {line}" for line in last))
    folder.mkdir(exist_ok=True)
    for program in programs:
        built = draft / program.package.rsplit("/", 1)[-1]
        if not built.exists():  # a package whose last part is a major version is named after the part before
            built = draft / program.package.rsplit("/", 2)[-2]
        built.replace(folder / program.name)
    shutil.rmtree(draft)
    say(f"  ✓ {title} ({seconds(time.monotonic() - started)})")


def pin_kubernetes(wanted):
    """Rewrite ``tools/kubernetes`` for another version of Kubernetes.

    ``k8s.io/kubernetes`` requires its staging modules at v0.0.0 and replaces them by folders of its own repository, which
    only works inside it: outside, each must be replaced by the published module of the same release.
    """
    folder = TOOLS / "kubernetes"
    environment = {**go_environment(cache_home() / "go"), "GOFLAGS": "-modcacherw"}
    release = f"v{wanted.lstrip('v')}"
    found = machine.run(["go", "mod", "download", "-json", f"k8s.io/kubernetes@{release}"], cwd=folder, env=environment)
    staging = staging_modules(Path(json.loads(found.stdout)["GoMod"]).read_text())
    tools = "".join(f"\t{program.package}\n" for program in BUILT.values() if program.module == "kubernetes")
    replacements = "".join(f"\t{name} => {name} v0.{release[3:]}\n" for name in staging)
    go_line = re.search(r"^go \S+$", (folder / "go.mod").read_text(), re.MULTILINE).group(0)
    module_line = (folder / "go.mod").read_text().splitlines()[0]
    (folder / "go.mod").write_text(f"{module_line}\n\n{go_line}\n\ntool (\n{tools})\n\nrequire k8s.io/kubernetes {release}\n\nreplace (\n{replacements})\n")
    machine.run(["go", "mod", "tidy"], cwd=folder, env=environment)


def staging_modules(go_mod):
    """The modules that Kubernetes' own ``go.mod`` requires at v0.0.0."""
    return sorted(set(re.findall(r"^\s+(k8s\.io/\S+) v0\.0\.0$", go_mod, re.MULTILINE)))
