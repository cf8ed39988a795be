"""What runs in a cluster: each component's command line, and how one sees that it works."""

import dataclasses
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Component:
    """One daemon. ``ready`` asks it; ``timeout`` is how long it may take to say yes (seconds on an idle machine, but it may be busy)."""

    name: str
    argv: list
    ready: Callable[[], bool]
    timeout: float = 180.0
    env: dict = dataclasses.field(default_factory=dict)


#: Health pages carry self-signed certificates and nothing worth protecting; they are asked at the cluster's own address only.
_UNVERIFIED = ssl.create_default_context()
_UNVERIFIED.check_hostname = False
_UNVERIFIED.verify_mode = ssl.CERT_NONE
#: Never through a proxy that the environment names: these addresses exist on this machine only.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=_UNVERIFIED))


def answers(url):
    """A check that an HTTP page answers with success."""
    def check():
        try:
            with _OPENER.open(url, timeout=2) as response:
                return response.status < 400
        except (OSError, urllib.error.URLError, ValueError):
            return False

    return check


def accepts(path):
    """A check that somebody listens on a Unix socket."""
    def check():
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1)
            try:
                client.connect(str(Path(path)))
            except OSError:
                return False
        return True

    return check
