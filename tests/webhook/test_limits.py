"""Limits on requests and clients of the webhook, whose port accepts requests from every client that reaches it."""

import http.client
import json
import socket
import ssl
import threading
import time

import pytest
from support.hook import unverified
from support.manifests import cluster
from support.waiting import until


@pytest.fixture
def address(hook):
    """Host and port of the webhook, once the operator is ready."""
    until(hook.operator.is_ready, "the operator to be ready")
    return hook.host, hook.port


def connect(address):
    """Opens a TLS connection without sending a request."""
    return unverified().wrap_socket(socket.create_connection(address, timeout=60))


def post(address, body, path="validate"):
    """Sends a request to the webhook. Returns the status code and the body of the response."""
    connection = http.client.HTTPSConnection(*address, timeout=60, context=unverified())
    try:
        connection.request("POST", f"/{path}?timeout=10s", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def review(manifest):
    """Body of an admission review for the creation of an object."""
    group, version = manifest["apiVersion"].split("/")
    request = {
        "uid": "1", "operation": "CREATE", "namespace": "n", "name": manifest["metadata"]["name"], "object": manifest,
        "kind": {"group": group, "version": version, "kind": manifest["kind"]},
        "resource": {"group": group, "version": version, "resource": "daskclusters"}, "userInfo": {"username": "me"},
    }
    return json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}).encode()


def memory_bomb():
    """Body of a review that is small as JSON text, and large once it is parsed."""
    manifest = cluster("bomb", 0)
    manifest["spec"]["worker"]["spec"]["bomb"] = "BOMB"
    text = review(manifest).replace(b'"BOMB"', b"[" + b",".join([b'{"":0}'] * 400_000) + b"]")
    assert len(text) < 4 << 20
    return text


def test_a_valid_review_is_answered(address):
    status, text = post(address, review(cluster("c", 0)))
    assert status == 200 and json.loads(text)["response"]["allowed"], text


def test_requests_that_grow_in_memory_are_refused_without_delaying_others(address, hook):
    body, ended = memory_bomb(), threading.Event()
    answers = []

    def send():
        while not ended.is_set():
            answers.append(post(address, body))

    clients = [threading.Thread(target=send) for _ in range(8)]
    for client in clients:
        client.start()
    try:
        until(lambda: len(answers) >= 16, "16 answers")
        for _ in range(10):
            start = time.monotonic()
            assert hook.operator.fetch("/healthz")
            assert time.monotonic() - start < 2, "/healthz was slow during the attack"
        until(lambda: post(address, review(cluster("c", 0)))[0] == 200, "an answer to a valid review")
    finally:
        ended.set()
        for client in clients:
            client.join()
    assert {status for status, _ in answers} <= {400, 503}, answers[:3]
    assert any("MiB of memory, more than 64" in text for _, text in answers)


@pytest.mark.parametrize("request_head", ["Content-Length: 4194304", "Transfer-Encoding: chunked"])
def test_incomplete_large_requests_do_not_block_other_clients(address, request_head):
    streams = []
    try:
        for _ in range(100):
            streams.append(connect(address))
            streams[-1].sendall(f"POST /validate HTTP/1.1\r\nHost: x\r\n{request_head}\r\n\r\n".encode())
        start = time.monotonic()
        status, text = post(address, review(cluster("c", 0)))
        # The webhook closes incomplete requests after five seconds. The answer must come before that.
        assert status == 200 and time.monotonic() - start < 4, text
    finally:
        for stream in streams:
            stream.close()


@pytest.mark.parametrize(("request_head", "status"), [
    ("POST /validate HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n", 413),
    ("POST /validate HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{", 408),
    ("GET /validate HTTP/1.1\r\nHost: x\r\n\r\n", 405),
    ("POST /other HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 404),
])
def test_an_invalid_http_request_is_refused(address, request_head, status):
    with connect(address) as stream:
        stream.sendall(request_head.encode())
        assert stream.recv(1000).decode().startswith(f"HTTP/1.1 {status} ")


def test_a_connection_with_an_incomplete_request_head_is_closed(address):
    start = time.monotonic()
    with connect(address) as stream:
        stream.sendall(b"POST /validate HTTP/1.1\r\nHost")
        try:
            assert stream.recv(1000) == b""
        except (ConnectionResetError, ssl.SSLEOFError):
            pass
    # The webhook closed the connection before the socket timeout of this test.
    assert time.monotonic() - start < 60
