"""Reading of kubeconfigs, and writing of one for a client of the proxy."""

import base64
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path

import yaml


class Unreadable(Exception):
    """A kubeconfig that this module does not support; the text is the reason."""


@dataclass(frozen=True)
class Access:
    """Address and credentials of an API server."""

    #: URL of the server, ``https://HOST:PORT``.
    server: str
    #: TLS context that trusts the server's CA and has the client's certificate, if there is one.
    context: ssl.SSLContext
    #: Headers that authenticate the client; empty with a client certificate.
    headers: dict


def read(path):
    """Return the access of a kubeconfig's current context, with a client certificate or a token."""
    config = yaml.safe_load(Path(path).read_text())

    def named(kind, name):
        return next(item[kind] for item in config[f"{kind}s"] if item["name"] == name)

    current = named("context", config["current-context"])
    cluster, user = named("cluster", current["cluster"]), named("user", current["user"])
    if not cluster["server"].startswith("https://"):
        raise Unreadable(f"{path}: the server is {cluster['server']}; the proxy needs one with https")

    def content(part, key):
        if f"{key}-data" in part:
            return base64.b64decode(part[f"{key}-data"])
        return (Path(path).parent / part[key]).read_bytes() if key in part else None

    authority = content(cluster, "certificate-authority")
    context = ssl.create_default_context(cadata=authority.decode() if authority else None)
    headers = {}
    if certificate := content(user, "client-certificate"):
        with tempfile.NamedTemporaryFile(suffix=".pem") as file:  # ssl reads client certificates only from files
            file.write(certificate + b"\n" + content(user, "client-key"))
            file.flush()
            context.load_cert_chain(file.name)
    elif "token" in user:
        headers["Authorization"] = f"Bearer {user['token']}"
    else:
        raise Unreadable(f"{path}: the user has neither a client certificate nor a token")
    return Access(cluster["server"].rstrip("/"), context, headers)


def write(path, server, authority, token):
    """Write a kubeconfig with the server's address, the PEM of its CA certificate, and a token."""
    cluster = {"server": server, "certificate-authority-data": base64.b64encode(authority).decode()}
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "chaos",
        "clusters": [{"name": "chaos", "cluster": cluster}],
        "users": [{"name": "chaos", "user": {"token": token}}],
        "contexts": [{"name": "chaos", "context": {"cluster": "chaos", "user": "chaos"}}],
    }
    Path(path).touch(mode=0o600)
    Path(path).write_text(yaml.safe_dump(config))
