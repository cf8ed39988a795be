"""The third-party programs that the cluster, the demonstration, the tests and the documentation use.

This is the only module that knows their sources. :func:`ensure` builds them and returns their paths. All callers get programs
from it; none relies on a program that happens to be in the PATH.

Most programs are built from Go modules with the ordinary client. Each folder under ``tools/`` is a Go module whose
``go.mod``/``go.sum`` pin every version. Its ``tool`` lines name the programs; CoreDNS has a ``main.go`` instead, which names its
plugins. The cache key is the content of these files and the build flags, so a changed pin causes a new build. The other programs
are unpacked from Debian packages: installing the packages would start services.
"""

import dataclasses
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import time
from pathlib import Path

from . import locks, machine
from .console import Failure, Progress, say, seconds
from .settings import cache_home

TOOLS = Path(__file__).resolve().parent.parent / "tools"


@dataclasses.dataclass(frozen=True)
class Program:
    """A program that is built from source: the module under ``tools/`` that pins it, and its Go package."""

    name: str
    module: str
    package: str


@dataclasses.dataclass(frozen=True)
class Unpacked:
    """A program that is unpacked from the Debian package of the same name."""

    name: str

    def folder(self):
        """Return the folder into which the package is unpacked, named after its Debian release."""
        release = platform.freedesktop_os_release().get("VERSION_CODENAME", "unknown")
        return cache_home() / "debian" / f"{self.name}-{release}-{machine.architecture()}"

    def path(self):
        """Return the path of the program."""
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


#: Programs that are built from source, in build order: the control plane's come first.
BUILT = {program.name: program for program in _built()}
UNPACKED = {"docker-registry": Unpacked("docker-registry")}
PROGRAMS = {**BUILT, **UNPACKED}
CONTROL_PLANE = ("etcd", "kube-apiserver", "kubectl", "kube-controller-manager", "kube-scheduler")
FAKE_NODES = ("kwok",)
#: Named sets of programs. A cluster with a node has all: also the clients, which ``kubeconfig`` adds to the PATH, and kwok, which
#: takes longer to build later, after Go's caches are deleted.
SETS = {"control-plane": CONTROL_PLANE, "all": tuple(PROGRAMS)}
#: Disk space in bytes that building all programs needs: modules, Go's build cache, programs.
DISK_SPACE = 10 << 30
#: Programs in the folder `KUBEBUILDER_ASSETS` of setup-envtest.
ASSETS = ("etcd", "kube-apiserver", "kubectl")


def version(module, tools=TOOLS):
    """Return the version that a module under ``tools/`` pins."""
    return pinned_version((tools / module / "go.mod").read_text())


def pinned_version(go_mod):
    """Return the version of the module that contains the first ``tool`` line's package: the requirement with the longest prefix.

    Without a ``tool`` line, return the version of the one direct requirement.
    """
    tool = re.search(r"^tool\s\(?\s*(\S+/\S+)$", go_mod, re.MULTILINE)
    package = tool.group(1) if tool else re.search(r"^require (\S+) v\S+$", go_mod, re.MULTILINE).group(1)
    required = re.findall(r"^(?:require\s+|\t)(\S+) (v\S+)(?: // indirect)?$", go_mod, re.MULTILINE)
    inside = [(len(name), pinned) for name, pinned in required if package == name or package.startswith(f"{name}/")]
    return max(inside)[1]


#: Compiler flags: no debug information, which takes time to generate and is not used.
COMPILER_FLAGS = "all=-dwarf=false"


def linker_flags(module, pinned):
    """Return ``-ldflags``: no symbol tables (half the size), and the version that the program reports.

    Without a version the API server reports v0.0.0, which kubectl, helm and the kubelet consider incompatible.
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
    """Return the cache folder of a module's programs. Its name contains the version for readability."""
    pinned = version(module, tools)
    key = hashlib.sha256(f"{machine.architecture()} {COMPILER_FLAGS} {linker_flags(module, pinned)}".encode())
    for file in sorted((tools / module).iterdir()):
        key.update(file.read_bytes())
    return (home or cache_home()) / "bin" / f"{module}-{pinned}-{key.hexdigest()[:12]}"


def _path(name):
    """Return the path of a program, which may not exist yet. `KUBEBUILDER_ASSETS` has precedence for :data:`ASSETS`."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets and name in ASSETS:
        prebuilt = Path(assets).absolute() / name
        if not prebuilt.exists():
            raise Failure(f"KUBEBUILDER_ASSETS is set, but {prebuilt} does not exist; unset it to build {name}")
        return prebuilt
    program = PROGRAMS[name]
    return program.path() if isinstance(program, Unpacked) else cache_folder(program.module) / name


def ensure(names):
    """Build the programs that are not cached, and return the path of each."""
    paths = {name: _path(name) for name in names}
    if all(path.exists() for path in paths.values()):
        return paths
    home = cache_home()
    home.mkdir(parents=True, exist_ok=True)
    with open(home / "build.lock", "w", encoding="ascii") as lock:
        locks.acquire(lock, lambda: "another build is running")
        for name, program in UNPACKED.items():
            if name in paths and not paths[name].exists():
                _unpack(program)
        missing = [name for name in BUILT if name in paths and not paths[name].exists()]
        if missing:
            _build_all(missing, home / "go")
    return paths


def link(paths, folder):
    """Create links to programs in a folder for the PATH, without CNI plugins."""
    folder.mkdir(exist_ok=True)
    for name, path in paths.items():
        if name in BUILT and BUILT[name].module == "cni":
            continue  # one of the CNI plugins is called `bridge`, as is a program of iproute2
        target = folder / name
        target.unlink(missing_ok=True)
        target.symlink_to(path)


def shadow(folder):
    """Fill a folder with a failing program of each name that reports that it was not requested.

    With that folder first in the PATH, a program that is used without a call of :func:`ensure` fails on every machine, even if it
    is installed there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, program in PROGRAMS.items():
        if isinstance(program, Program) and program.module == "cni":
            continue
        target = folder / name
        target.write_text(f'#!/bin/sh\necho "{name}: it was not requested; python3 tests/cluster build {name} makes it and prints its path" >&2\nexit 127\n')
        target.chmod(0o755)


def _unpack(program):
    folder = program.folder()
    draft = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    machine.unpack_package(program.name, draft)
    shutil.rmtree(folder, ignore_errors=True)
    draft.replace(folder)


def _build_all(missing, caches):
    if not shutil.which("go"):
        raise Failure("Go (1.26 or newer) is missing: install it to build the cluster's programs")
    say(f"  building {len(missing)} program(s) once, from Go modules: {', '.join(missing)}")
    if len(missing) > 5:
        say("  (about 12 minutes on 2 processors for all of them)")
        free = shutil.disk_usage(caches.parent).free
        if free < DISK_SPACE:
            raise Failure(f"building temporarily needs {DISK_SPACE >> 30} GB of disk, and {caches.parent} has {free >> 30} GB free; set XDG_CACHE_HOME to use another folder")
    for names in _batches(missing):
        _build([BUILT[name] for name in names], caches)
    # Go's caches take some 7 GB. They remain until all programs are built, because modules share packages.
    if all(_path(name).exists() for name in BUILT):
        drop(caches)


def drop(caches):
    """Remove Go's caches in a background process: on some disks a hundred thousand files take minutes."""
    if caches.exists():
        say("  deleting Go's build and module caches (several GB) in the background")
        doomed = caches.with_name(f".{caches.name}.{os.getpid()}.old")
        caches.rename(doomed)
        subprocess.Popen(["nice", "-n", "19", "rm", "-rf", "--", *map(str, caches.parent.glob(f".{caches.name}.*.old"))],
                         stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def _batches(names):
    """Group programs into calls of ``go build``: by module, with the control plane separate so that it is ready early."""
    batches = []
    for name in names:
        key = (BUILT[name].module, name in CONTROL_PLANE)
        if batches and batches[-1][0] == key:
            batches[-1][1].append(name)
        else:
            batches.append((key, [name]))
    return [batch for _, batch in batches]


def go_environment(caches):
    """Return the environment for Go: separate caches, writable so that they can be removed, and no cgo, so that no C compiler is
    needed."""
    return {**os.environ, "CGO_ENABLED": "0", "GOCACHE": str(caches / "build"), "GOMODCACHE": str(caches / "mod"),
            "GOWORK": "off", "GOFLAGS": "-modcacherw -buildvcs=false -mod=readonly"}


def _build(programs, caches):
    module = programs[0].module
    pinned, folder = version(module), cache_folder(module)
    title = f"build {', '.join(program.name for program in programs)} {pinned}"
    draft = folder.parent / f".{folder.name}.part"
    draft.mkdir(parents=True, exist_ok=True)
    # A trailing "/" makes -o a folder. The default file name of a program is the last part of its package path.
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
        raise Failure(f"{title} failed; the last output of Go:\n" + "\n".join(f"    | {line}" for line in last))
    folder.mkdir(exist_ok=True)
    for program in programs:
        built = draft / program.package.rsplit("/", 1)[-1]
        if not built.exists():  # if the last part is a major version, the file has the name of the part before
            built = draft / program.package.rsplit("/", 2)[-2]
        built.replace(folder / program.name)
    shutil.rmtree(draft)
    say(f"  ✓ {title} ({seconds(time.monotonic() - started)})")


def pin_kubernetes(wanted):
    """Pin another version of Kubernetes in ``tools/kubernetes``.

    ``k8s.io/kubernetes`` requires its staging modules at v0.0.0 and replaces them by folders of its own repository, which
    works only inside that repository: elsewhere each must be replaced by the published module of the same release.
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
    """Return the modules that Kubernetes' own ``go.mod`` requires at v0.0.0."""
    return sorted(set(re.findall(r"^\s+(k8s\.io/\S+) v0\.0\.0$", go_mod, re.MULTILINE)))
