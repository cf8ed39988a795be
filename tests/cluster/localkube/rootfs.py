"""The layers of an image, built from Debian packages, Python packages and files, without a container engine.

Each function fills a folder or writes a tar archive. :mod:`localkube.images` decides which are needed, and caches the results.
"""

import configparser
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from . import machine
from .console import Failure, Progress

#: Documentation and translations, which are a third of a small Debian.
UNNEEDED = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/lintian/*", "/var/cache/*.bin")
#: Files in packages of libraries that programs linked to the libraries do not need.
NOT_FOR_PROGRAMS = ("usr/share/doc/*/changelog*", "usr/share/doc/*/NEWS*", "usr/share/doc/*/README*", "usr/share/doc/*/examples", "usr/share/lintian", "usr/share/man",
                    "usr/lib/*/gconv", "usr/lib/*/audit", "usr/sbin", "etc/ld.so.conf.d", "etc/ca-certificates")
#: File that names this machine's Debian release.
RELEASE = Path("/etc/os-release")
PROGRAMS = {"mmdebstrap": "mmdebstrap", "tar": "tar"}


def debian(archive, suite, packages):
    """Write a Debian with its essential packages and ``packages`` to a tar archive."""
    machine.need(PROGRAMS)
    # mmdebstrap mounts /proc and /sys into the tree. In its own mount namespace they are unmounted when it ends, even by a signal.
    argv = ["unshare", "--mount", "--propagation", "private", "--fork", "--kill-child", "mmdebstrap", "--mode=root", "--variant=essential", "--quiet",
            f"--include={','.join(packages)}", "--aptopt=APT::Install-Recommends false",
            *(f"--dpkgopt=path-exclude={pattern}" for pattern in UNNEEDED), suite, str(archive), *_apt_sources(suite)]
    _watched(argv, f"Debian {suite} with {', '.join(packages)}")


def libraries(layer, packages):
    """Copy the files of this machine's Debian packages into ``layer``, for programs that were linked on this machine.

    CA certificates are concatenated into the one file that programs read, as the scripts of ``ca-certificates`` do. The packages
    are recorded in ``/var/lib/dpkg/status.d``, where image scanners look.
    """
    for link in ("bin", "lib", "lib64"):  # as in every Debian; packages have files below both names
        (layer / "usr" / link).mkdir(parents=True)
        (layer / link).symlink_to(f"usr/{link}")
    for package in packages:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "files"
            control = machine.unpack_package(package, folder)
            record = layer / "var/lib/dpkg/status.d" / package
            record.parent.mkdir(parents=True, exist_ok=True)
            record.write_text(control)
            for pattern in NOT_FOR_PROGRAMS:
                for path in folder.glob(pattern):
                    machine.run(["rm", "-r", path])
            pack(folder, Path(scratch) / "files.tar")
            machine.run(["tar", "--extract", f"--file={scratch}/files.tar", f"--directory={layer}", "--keep-directory-symlink", "--preserve-permissions"])
    certificates = sorted((layer / "usr/share/ca-certificates").glob("**/*.crt"))
    if certificates:
        bundle = layer / "etc/ssl/certs/ca-certificates.crt"
        bundle.parent.mkdir(parents=True, exist_ok=True)
        bundle.write_text("".join(path.read_text() for path in certificates))
        shutil.rmtree(layer / "usr/share/ca-certificates")


def _apt_sources(suite):
    """Return the machine's own package sources if they are for the same release, because they may name a mirror; otherwise none."""
    release = RELEASE.read_text()
    if f"VERSION_CODENAME={suite}\n" not in release:
        return []
    files = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("debian*.sources"))]
    return [str(file) for file in files if file.exists() and file.stat().st_size]


def _watched(argv, title):
    """Run a long command with progress lines. Raises :class:`Failure` with its last output if it fails."""
    progress = Progress(title)
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as child:
        last = []
        os.set_blocking(child.stdout.fileno(), True)
        for line in child.stdout:
            last = (last + [line.rstrip()])[-12:]
            progress.tick(line.strip()[:80])
    if child.returncode != 0:
        raise Failure(f"{title}: `{argv[0]} …` failed ({child.returncode}):\n" + "\n".join(f"    | {line}" for line in last))


def python(root, layer, packages, scripts):
    """Install Python packages from the package index into the folder ``layer``, for the Python of the Debian in ``root``.

    ``scripts`` are programs that the packages do not declare: a ``module:function`` by name.
    """
    version = python_version(root)
    site = layer / f"usr/local/lib/python{version}/dist-packages"
    site.mkdir(parents=True)
    _watched([*_pip(), "install", "--quiet", "--disable-pip-version-check", "--no-input", "--root-user-action=ignore", "--no-compile", "--target", str(site),
              "--python-version", version, "--implementation", "cp", "--only-binary", ":all:", *_platforms(), *packages],
             f"Python packages {', '.join(packages)}")
    shutil.rmtree(site / "bin", ignore_errors=True)
    for folder in [found for found in site.glob("**/tests") if found.is_dir()]:
        shutil.rmtree(folder, ignore_errors=True)  # tests are a third of NumPy and pandas
    entry_points(site, scripts, layer / "usr/local/bin")
    # Without compiled files every container would compile its imports at every start, which takes seconds. "unchecked" files need no
    # time stamps. The image's own interpreter compiles them, because the machine's may have another version.
    target = root / site.relative_to(layer)
    target.mkdir(parents=True, exist_ok=True)
    compile_all = 'mount --bind "$1" "$2"; exec chroot "$3" python3 -m compileall -q --invalidation-mode unchecked-hash "$4"'
    machine.run(["unshare", "--mount", "--propagation", "private", "/bin/sh", "-ec", compile_all, "compile",
                 site, target, root, f"/{site.relative_to(layer)}"], check=False)  # a file that this version of Python can't compile does no harm


def python_version(root):
    """Return the version of Python in a Debian tree, such as 3.11."""
    found = sorted(path.name.removeprefix("python") for path in (root / "usr/bin").glob("python3.*[0-9]"))
    if not found:
        raise Failure("the image has Python packages but no Python: add python3 to its Debian packages")
    return found[-1]


def _pip():
    """Return the command line of the machine's pip, for any version of Python. Installs pip if it is missing."""
    for interpreter in (sys.executable, "python3"):
        if machine.run([interpreter, "-m", "pip", "--version"], check=False).returncode == 0:
            return [interpreter, "-m", "pip"]
    machine.need({"pip3": "python3-pip"})
    return ["/usr/bin/python3", "-m", "pip"]


def _platforms():
    """Return pip's options for the platforms of wheels that run with Debian 12's C library (2.36)."""
    processor = {"amd64": "x86_64", "arm64": "aarch64"}[machine.architecture()]
    names = [f"manylinux_2_{minor}_{processor}" for minor in range(36, 16, -1)]
    names += [f"manylinux2014_{processor}"] + ([f"manylinux2010_{processor}", f"manylinux1_{processor}"] if processor == "x86_64" else [])
    return [word for name in names for word in ("--platform", name)]


def entry_points(site, scripts, folder):
    """Write the command-line programs of the installed packages and of ``scripts`` into ``folder``.

    The guard ``if __name__ == "__main__"`` is required: Dask's nanny starts a process that imports the main script again, and
    without the guard every worker ends.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wanted = console_scripts("[console_scripts]\n" + "".join(f"{name} = {target}\n" for name, target in scripts.items()))
    for metadata in site.glob("*.dist-info/entry_points.txt"):
        wanted.update(console_scripts(metadata.read_text()))
    for name, (module, function) in wanted.items():
        script = folder / name
        script.write_text(f"#!/usr/bin/python3\nimport sys\n\nfrom {module} import {function.split('.')[0]}\n\n"
                          f'if __name__ == "__main__":\n    sys.exit({function}())\n')
        script.chmod(0o755)


def console_scripts(text):
    """Return the module and function of each program in the text of an ``entry_points.txt``."""
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None)
    parser.optionxform = str
    parser.read_string(text)
    section = parser["console_scripts"] if parser.has_section("console_scripts") else {}
    found = {}
    for name, target in section.items():
        module, _, function = target.partition("[")[0].strip().partition(":")
        found[name.strip()] = (module.strip(), function.strip())
    return found


def files(layer, entries, base):
    """Write single files and symbolic links into a layer. ``entries`` are their descriptions by path in the image."""
    for name, entry in entries.items():
        target = layer / name.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if "link" in entry:
            target.symlink_to(entry["link"])
            continue
        if "text" in entry:
            target.write_text(entry["text"])
        elif "c" in entry:
            compile_c(base / entry["c"], target)
        else:
            shutil.copyfile(base / entry["source"], target)
        target.chmod(int(entry.get("mode", "755" if "c" in entry else "644"), 8))


def compile_c(source, target):
    """Compile one C file to a static program."""
    machine.need({"cc": "gcc", "ld": "binutils"})
    result = machine.run(["cc", "-Os", "-static", "-s", "-o", target, source], check=False)
    if result.returncode != 0:  # the static C library is missing, which is in a separate package
        machine.install(["libc6-dev"])
        machine.run(["cc", "-Os", "-static", "-s", "-o", target, source])


def pack(folder, archive):
    """Write a layer's folder to a tar archive, reproducibly: equal content gives equal bytes."""
    machine.run(["tar", "--create", f"--file={archive}", "--sort=name", "--numeric-owner", "--owner=0", "--group=0", "--mtime=@0",
                 f"--directory={folder}", "."])


def unpack(archive, folder):
    """Unpack a tar archive into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    machine.run(["tar", "--extract", f"--file={archive}", f"--directory={folder}", "--numeric-owner", "--preserve-permissions"])
