"""The host: missing Debian packages, kernel modules, and running commands."""

import os
import platform
import shutil
import subprocess

from .console import Failure, step


def run(argv, check=True, **options):
    """Run a command and capture its output. Raises :class:`Failure` with the command and its output if it fails."""
    options.setdefault("stdin", subprocess.DEVNULL)
    result = subprocess.run([str(part) for part in argv], capture_output=True, text=True, check=False, **options)
    if check and result.returncode != 0:
        output = (result.stderr.strip() or result.stdout.strip())[-2000:]
        raise Failure(f"`{' '.join(str(part) for part in argv)}` failed ({result.returncode}): {output}")
    return result


def complete_path():
    """Append to PATH the folders of ``ip``, ``nft``, ``runc`` and Go, which a root shell started by ``su`` may lack."""
    present = os.environ.get("PATH", "").split(":")
    os.environ["PATH"] = ":".join([*filter(None, present), *(folder for folder in ("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/go/bin") if folder not in present)])


def clean_environment():
    """Return the environment of a component, without the user's variables such as a proxy or KUBECONFIG."""
    return {"PATH": os.environ["PATH"], "HOME": "/root", "LANG": "C.UTF-8"}


def require_root():
    """Raise :class:`Failure` unless this process runs as root, which namespaces, mounts and control groups need."""
    if os.geteuid() != 0:
        raise Failure("the local Kubernetes needs root, to create namespaces, mounts and control groups")


def architecture():
    """Return the machine's architecture in the notation of container images and Go."""
    names = {"x86_64": "amd64", "aarch64": "arm64"}
    try:
        return names[platform.machine()]
    except KeyError:
        raise Failure(f"the processor {platform.machine()} is not supported, only x86_64 and aarch64 are") from None


def need(programs):
    """Install missing programs. ``programs`` maps each program to the Debian package that contains it."""
    missing = {package for program, package in programs.items() if not shutil.which(program)}
    if missing:
        with step(f"install {', '.join(sorted(missing))} (apt)"):
            install(sorted(missing))


def _apt(*arguments):
    if not shutil.which("apt-get"):
        raise Failure(f"this machine has no apt-get (it is not Debian), so {', '.join(arguments[-1:])} cannot be installed")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    return run(["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300", *arguments], check=False, env=environment)


def install(packages):
    """Install Debian packages. Updates the package lists only if the first attempt fails."""
    for attempt in ("current", "updated"):
        if attempt == "updated":
            _apt("update")
        result = _apt("install", "--no-install-recommends", "-y", *packages)
        if result.returncode == 0:
            return
    raise Failure(f"apt cannot install {', '.join(packages)}: {result.stderr.strip()[-500:]}")


def unpack_package(package, folder):
    """Unpack a Debian package into ``folder``, and return the content of its control file.

    The package is not installed, so that none of its services starts on the host.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for attempt in ("current", "updated"):
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
    """Load the kernel modules that a stock Debian kernel needs. Failures are ignored: other kernels have them built in."""
    if shutil.which("modprobe", path="/sbin:/usr/sbin:/bin:/usr/bin"):
        for module in ("overlay", "br_netfilter", "veth", "nf_tables", "nft_chain_nat", "nf_conntrack"):
            run(["modprobe", "-q", module], check=False)
