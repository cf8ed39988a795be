"""Whoever reaches the port can ask: what one request and one client may take is bounded."""

import http.client
import json
import socket
import ssl
import threading
import time

import pytest
from support.manifests import cluster
from support.waiting import until


def unverified():
    """TLS with whoever answers."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@pytest.fixture
def port(hook):
    """Where the webhook listens, once it has a certificate."""
    until(hook.operator.is_ready, "the operator to be ready")
    return hook.host, hook.port


def connect(port):
    """A connection, without a request."""
    return unverified().wrap_socket(socket.create_connection(port, timeout=60))


def post(port, body, step="validate"):
    """What the webhook answers: the status code and the text."""
    connection = http.client.HTTPSConnection(*port, timeout=60, context=unverified())
    try:
        connection.request("POST", f"/{step}?timeout=10s", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def review(manifest):
    """As an API server asks about a new object."""
    group, version = manifest["apiVersion"].split("/")
    request = {
        "uid": "1", "operation": "CREATE", "namespace": "n", "name": manifest["metadata"]["name"], "object": manifest,
        "kind": {"group": group, "version": version, "kind": manifest["kind"]},
        "resource": {"group": group, "version": version, "resource": "daskclusters"}, "userInfo": {"username": "me"},
    }
    return json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}).encode()


def bomb():
    """A request that is small as text, and would not be in memory."""
    manifest = cluster("bomb", 0)
    manifest["spec"]["worker"]["spec"]["bomb"] = "BOMB"
    text = review(manifest).replace(b'"BOMB"', b"[" + b",".join([b'{"":0}'] * 400_000) + b"]")
    assert len(text) < 4 << 20
    return text


def test_a_usual_request_is_answered(port):
    code, text = post(port, review(cluster("c", 0)))
    assert code == 200 and json.loads(text)["response"]["allowed"], text


def test_what_grows_in_memory_is_refused_and_holds_nobody_up(port, hook):
    body, ended = bomb(), threading.Event()
    answers = []

    def send():
        while not ended.is_set():
            answers.append(post(port, body))

    clients = [threading.Thread(target=send) for _ in range(8)]
    for client in clients:
        client.start()
    try:
        until(lambda: len(answers) >= 16, "16 answers")
        for _ in range(10):
            begin = time.monotonic()
            assert hook.operator.fetch("/healthz")
            assert time.monotonic() - begin < 2, "it is not answered beside them"
        until(lambda: post(port, review(cluster("c", 0)))[0] == 200, "another one to be answered")
    finally:
        ended.set()
        for client in clients:
            client.join()
    assert {code for code, _ in answers} <= {400, 503}, answers[:3]
    assert any("MiB of memory, more than 64" in text for _, text in answers)


@pytest.mark.parametrize("head", ["Content-Length: 4194304", "Transfer-Encoding: chunked"])
def test_who_announces_much_and_sends_little_keeps_nobody_out(port, head):
    streams = []
    try:
        for _ in range(100):
            streams.append(connect(port))
            streams[-1].sendall(f"POST /validate HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n".encode())
        begin = time.monotonic()
        code, text = post(port, review(cluster("c", 0)))
        # They are cut off after five seconds.
        assert code == 200 and time.monotonic() - begin < 4, text
    finally:
        for stream in streams:
            stream.close()


@pytest.mark.parametrize(("head", "code"), [
    ("POST /validate HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n", 413),
    ("POST /validate HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{", 408),
    ("GET /validate HTTP/1.1\r\nHost: x\r\n\r\n", 405),
    ("POST /other HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 404),
])
def test_requests_that_are_none(port, head, code):
    with connect(port) as stream:
        stream.sendall(head.encode())
        assert stream.recv(1000).decode().startswith(f"HTTP/1.1 {code} ")


def test_who_never_ends_the_head_is_closed(port):
    begin = time.monotonic()
    with connect(port) as stream:
        stream.sendall(b"POST /validate HTTP/1.1\r\nHost")
        try:
            assert stream.recv(1000) == b""
        except (ConnectionResetError, ssl.SSLEOFError):
            pass
    # It has not waited for the end of the test's own patience.
    assert time.monotonic() - begin < 60
