"""The components of a cluster: command lines and readiness checks."""

import dataclasses
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Component:
    """A daemon. ``ready`` is its readiness check.

    ``timeout`` is the maximum time until it is ready, in seconds. It takes a few seconds on an idle machine, but longer under load.
    """

    name: str
    argv: list
    ready: Callable[[], bool]
    timeout: float = 180.0
    env: dict = dataclasses.field(default_factory=dict)


#: TLS context without verification: health endpoints have self-signed certificates and no secrets, and are requested only at the
#: cluster's own address.
_UNVERIFIED = ssl.create_default_context()
_UNVERIFIED.check_hostname = False
_UNVERIFIED.verify_mode = ssl.CERT_NONE
#: URL opener that ignores the environment's proxies: the addresses exist on this machine only.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=_UNVERIFIED))


def answers(url):
    """Return a readiness check that succeeds if an HTTP GET of ``url`` succeeds."""
    def check():
        try:
            with _OPENER.open(url, timeout=2) as response:
                return response.status < 400
        except (OSError, urllib.error.URLError, ValueError):
            return False

    return check


def accepts(path):
    """Return a readiness check that succeeds if a Unix socket accepts connections."""
    def check():
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1)
            try:
                client.connect(str(Path(path)))
            except OSError:
                return False
        return True

    return check
