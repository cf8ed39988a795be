"""CRDs of third-party resources that the chart creates, from the Go modules that contain them."""

import json
import os
import subprocess
from pathlib import Path

from support.cluster import ROOT

#: Directory of the go.mod that pins the modules' versions and checksums.
MODULE = ROOT / "tests" / "chart" / "definitions"
#: CRD files by module path.
FILES = {
    "github.com/cert-manager/cert-manager": ["deploy/crds/cert-manager.io_certificates.yaml", "deploy/crds/cert-manager.io_issuers.yaml"],
    "github.com/prometheus-operator/prometheus-operator": [
        f"example/prometheus-operator-crd/monitoring.coreos.com_{kind}.yaml" for kind in ("servicemonitors", "podmonitors")],
}


def paths():
    """Yield the paths of the CRD files. The modules are downloaded once."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dask-operator"
    environment = {**os.environ, "GOMODCACHE": str(home / "definitions"), "GOFLAGS": "-modcacherw", "GOWORK": "off"}

    def go(*arguments):
        return subprocess.run(["go", *arguments], cwd=MODULE, env=environment, check=True, text=True, stdout=subprocess.PIPE).stdout

    required = {module["Path"]: module["Version"] for module in json.loads(go("mod", "edit", "-json"))["Require"]}
    for module, files in FILES.items():
        folder = Path(json.loads(go("mod", "download", "-json", f"{module}@{required[module]}"))["Dir"])
        yield from (folder / file for file in files)
