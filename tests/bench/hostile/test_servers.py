"""Tests of the hostile servers: clients can read their responses, so that the attacks reach the code that processes them."""

import socket
import ssl
import struct
import urllib.error
import urllib.request

import pytest
import servers
import trustme
from servers import Registry, Scheduler, frames, pack, workers

HOST = "127.0.0.1"


def read(connection, size):
    """Read exactly ``size`` bytes."""
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        assert piece, "the connection was closed too early"
        data += piece
    return data


def test_messages():
    assert pack({"a": [None, True, 1, "b"]}) == (
        b"\xdf\0\0\0\x01\xdb\0\0\0\x01a\xdd\0\0\0\x04\xc0\xc3\xcf\0\0\0\0\0\0\0\x01\xdb\0\0\0\x01b")
    assert frames(b"xyz") == struct.pack("<QQQ", 19, 1, 3) + b"xyz"


def test_workers_of_seven_bytes_each():
    body = workers(7000)
    head, _, entries = body.partition(pack("workers"))
    assert head.startswith(b"\x83") and entries[:1] == b"\xdf"
    assert struct.unpack(">I", entries[1:5]) == (1000,) and entries[5:19] == b"\xa5aaaaa\x80\xa5aaaab\x80"


def test_the_scheduler_sends_a_greeting_and_responses(monkeypatch):
    monkeypatch.setattr(servers, "LARGEST", 7256)
    scheduler = Scheduler(HOST)
    scheduler.responses = scheduler.responses[:1]
    with socket.create_connection((HOST, scheduler.port), timeout=10) as connection:
        assert read(connection, len(servers.GREETING)) == servers.GREETING
        connection.sendall(servers.GREETING)
        connection.sendall(frames(pack({"op": "identity", "reply": True})))
        length, count, size = struct.unpack("<QQQ", read(connection, 24))
        assert (length, count) == (16 + size, 1) and size > 7000
    assert (scheduler.new_tries(), scheduler.new_tries()) == (1, 0)


@pytest.fixture
def registry(tmp_path):
    authority = trustme.CA()
    authority.issue_cert(HOST).private_key_and_cert_chain_pem.write_to_path(tmp_path / "registry.pem")
    registry = Registry(HOST, 0, tmp_path / "registry.pem")
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)

    def get(path):
        request = urllib.request.Request(f"https://{registry.address}{path}")
        return urllib.request.build_opener(urllib.request.HTTPSHandler(context=trusted), NoRedirect()).open(request, timeout=10)

    yield get
    registry.server.shutdown()


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """A handler that follows no redirects."""

    def redirect_request(self, *_):
        return None


def test_the_registry_requires_a_token(registry):
    with pytest.raises(urllib.error.HTTPError) as refused:
        registry("/v2/")
    assert refused.value.code == 401 and "/token" in refused.value.headers["WWW-Authenticate"]
    assert registry("/token?scope=repository:hostile/newline/a:pull").read() == b'{"token": "a\\nb"}'
    assert registry("/token?scope=repository:hostile/endless/a:pull").read() == b'{"token": "t"}'


def test_the_registry_redirects_and_sends_endless_manifests(registry):
    with pytest.raises(urllib.error.HTTPError) as redirected:
        registry("/v2/hostile/redirect/a/manifests/1")
    assert redirected.value.headers["Location"].startswith("http://169.254.169.254/")
    with registry("/v2/hostile/endless/a/manifests/1") as response:
        assert len(response.read(1 << 20)) == 1 << 20
