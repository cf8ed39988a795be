"""The bare machine: Debian packages that are missing, kernel features, small commands."""

import os
import platform
import shutil
import subprocess

from .console import Failure, step


def run(argv, check=True, **options):
    """Run a command quietly; a failure shows the command and what it said."""
    options.setdefault("stdin", subprocess.DEVNULL)
    result = subprocess.run([str(part) for part in argv], capture_output=True, text=True, check=False, **options)
    if check and result.returncode != 0:
        said = (result.stderr.strip() or result.stdout.strip())[-2000:]
        raise Failure(f"`{' '.join(str(part) for part in argv)}` failed ({result.returncode}): {said}")
    return result


def complete_path():
    """A person who became root by ``su`` may lack the folders with ``ip``, ``nft`` and ``runc``, or the one where Go is usually unpacked."""
    present = os.environ.get("PATH", "").split(":")
    os.environ["PATH"] = ":".join([*filter(None, present), *(folder for folder in ("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/go/bin") if folder not in present)])


def clean_environment():
    """What a component sees of the environment: nothing that a person set for something else, such as a proxy or a KUBECONFIG."""
    return {"PATH": os.environ["PATH"], "HOME": "/root", "LANG": "C.UTF-8"}


def require_root():
    """Namespaces, mounts and control groups need root."""
    if os.geteuid() != 0:
        raise Failure("the local Kubernetes needs root: it makes namespaces, mounts and control groups")


def architecture():
    """The machine's architecture as container images and Go name it."""
    names = {"x86_64": "amd64", "aarch64": "arm64"}
    try:
        return names[platform.machine()]
    except KeyError:
        raise Failure(f"the processor {platform.machine()} is not supported, only x86_64 and aarch64 are") from None


def need(programs):
    """Make sure that programs exist: ``programs`` maps a program to the Debian package that has it."""
    missing = {package for program, package in programs.items() if not shutil.which(program)}
    if missing:
        with step(f"install {', '.join(sorted(missing))} (apt)"):
            install(sorted(missing))


def _apt(*arguments):
    if not shutil.which("apt-get"):
        raise Failure(f"this machine has no apt-get (it is not a Debian), so {', '.join(arguments[-1:])} cannot be installed")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    return run(["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300", *arguments], check=False, env=environment)


def install(packages):
    """Install Debian packages, with a fresh package list only when the old one does not do."""
    for attempt in ("as it is", "updated"):
        if attempt == "updated":
            _apt("update")
        result = _apt("install", "--no-install-recommends", "-y", *packages)
        if result.returncode == 0:
            return
    raise Failure(f"apt cannot install {', '.join(packages)}: {result.stderr.strip()[-500:]}")


def unpack_package(package, folder):
    """Unpack a Debian package into ``folder`` without installing it, so that no service of it starts on the host; returns what
    it says about itself (its control file)."""
    folder.mkdir(parents=True, exist_ok=True)
    for attempt in ("as it is", "updated"):
        if attempt == "updated":
            _apt("update")
        result = run(["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", package], check=False, cwd=folder)
        if result.returncode == 0:
            break
    else:
        raise Failure(f"apt cannot download {package}: {result.stderr.strip()[-500:]}")
    archive = next(folder.glob("*.deb"))
    run(["dpkg-deb", "--extract", archive, folder])
    control = run(["dpkg-deb", "--field", archive]).stdout
    archive.unlink()
    return control


def load_modules():
    """Load what a stock Debian kernel has as modules; a kernel that has them built in knows no modules at all."""
    if shutil.which("modprobe", path="/sbin:/usr/sbin:/bin:/usr/bin"):
        for module in ("overlay", "br_netfilter", "veth", "nf_tables", "nft_chain_nat", "nf_conntrack"):
            run(["modprobe", "-q", module], check=False)
