"""Tests of the proxy: a client sees each fault as intended, and no request hangs."""

import asyncio
import http.client
import json
import threading
import time
from contextlib import contextmanager
from urllib.parse import urlsplit

import faults
import kubeconfig
import pytest
import yaml
from aiohttp import web
from background import Background
from https import Server
from proxy import Proxy, describe

PODS = "/api/v1/namespaces/n/pods"
WATCH = f"{PODS}?watch=true"
#: Timeout of a client in seconds, longer than any response here takes.
PATIENCE = 10


class ApiServer:
    """A server with responses like those of an API server that counts the executed write requests."""

    def __init__(self):
        self.reset()

    def reset(self):
        """Restore the initial state."""
        self.executed = 0
        self.events = 100
        self.pause = 0.01

    async def handle(self, request):
        if request.headers.get("Authorization") != "Bearer real":
            return web.Response(status=401)
        if request.query.get("watch") == "true":
            response = web.StreamResponse(headers={"Content-Type": "application/json"})
            await response.prepare(request)
            for number in range(self.events):
                event = {"type": "ADDED", "object": {"metadata": {"name": f"p{number}"}}}
                await response.write(json.dumps(event).encode() + b"\n")
                await asyncio.sleep(self.pause)
            return response
        self.headers = request.headers
        if request.method != "GET":
            self.executed += 1
            body = await request.json() if request.can_read_body else {}
            return web.json_response({**body, "path": request.raw_path}, status=201 if request.method == "POST" else 200)
        return web.json_response({"items": ["x" * 1000] * 50})


@pytest.fixture(scope="module")
def api():
    """The fake API server."""
    api = ApiServer()
    with Background() as background:
        api.server = Server(api.handle)
        background.call(api.server.start())
        yield api
        background.call(api.server.stop())


@pytest.fixture
def proxy(api, tmp_path):
    """A proxy in front of the fake API server, without faults."""
    api.reset()
    upstream = tmp_path / "upstream.kubeconfig"
    kubeconfig.write(upstream, api.server.address, api.server.authority, "real")
    with Proxy(upstream, tmp_path) as proxy:
        yield proxy


@contextmanager
def connection(proxy):
    """Open a connection with the proxy's kubeconfig."""
    access = kubeconfig.read(proxy.kubeconfig)
    address = urlsplit(access.server)
    connection = http.client.HTTPSConnection(address.hostname, address.port, timeout=PATIENCE, context=access.context)
    request = connection.request
    connection.request = lambda method, path, body=None, headers=None: request(
        method, path, body, {**access.headers, **(headers or {})})
    try:
        yield connection
    finally:
        connection.close()


def send(proxy, method="GET", path=PODS, body=None):
    """Send a request, and return the response and its text."""
    with connection(proxy) as client:
        client.request(method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"})
        response = client.getresponse()
        return response, response.read().decode()


def only(kind, **more):
    """Return a schedule in which each request has this fault if it can occur."""
    return faults.Schedule(more.pop("seed", 1), {kind: 1.0})


def is_broken(proxy, *request):
    """Return whether a request gets no response and fails without a timeout."""
    start = time.monotonic()
    with pytest.raises((OSError, http.client.HTTPException)) as raised:
        send(proxy, *request)
    return not isinstance(raised.value, TimeoutError) and time.monotonic() - start < PATIENCE / 2


# Without faults ---------------------------------------------------------------


def test_requests_pass_without_faults(proxy, api):
    response, text = send(proxy)
    assert response.status == 200 and json.loads(text)["items"] == ["x" * 1000] * 50
    response, text = send(proxy, "POST", f"{PODS}?fieldManager=a%2Fb", {"kind": "Pod"})
    assert response.status == 201
    assert json.loads(text) == {"kind": "Pod", "path": f"{PODS}?fieldManager=a%2Fb"}
    api.events = 10
    response, text = send(proxy, path=WATCH)
    assert [json.loads(line)["object"]["metadata"]["name"] for line in text.splitlines()] == [f"p{n}" for n in range(10)]
    assert proxy.counted() == 3 and proxy.counted(verb="create", code="201") == 1 and proxy.writes() == 1
    assert not proxy.injected


def test_headers_of_the_client_are_forwarded(proxy, api):
    with connection(proxy) as client:
        client.request("PATCH", f"{PODS}/p", "{}", {"Content-Type": "application/apply-patch+yaml", "User-Agent": "me"})
        client.getresponse().read()
    assert api.headers["Content-Type"] == "application/apply-patch+yaml" and api.headers["User-Agent"] == "me"
    assert "Accept" not in api.headers
    # http.client sets this header: the proxy must not request compressed responses instead.
    assert api.headers["Accept-Encoding"] == "identity"


def test_connections_are_reused(proxy):
    with connection(proxy) as client:
        for _ in range(3):
            client.request("GET", PODS)
            assert len(client.getresponse().read()) > 50_000
            assert client.sock


def test_watch_events_are_forwarded_immediately(proxy, api):
    api.pause = 1.0
    with connection(proxy) as client:
        start = time.monotonic()
        client.request("GET", WATCH)
        assert b"p0" in client.getresponse().readline()
        assert time.monotonic() - start < 0.9


def test_requests_without_the_token_are_refused(proxy, api):
    config = yaml.safe_load(proxy.kubeconfig.read_text())
    config["users"][0]["user"]["token"] = "guessed"
    proxy.kubeconfig.write_text(yaml.safe_dump(config))
    assert send(proxy, "POST")[0].status == 401
    assert api.executed == 0


# Responses ----------------------------------------------------------------------


@pytest.mark.parametrize("kind, method, code, reason, executed", [
    ("throttled", "POST", 429, "TooManyRequests", 0),
    ("throttled", "GET", 429, "TooManyRequests", 0),
    ("conflict", "PATCH", 409, "Conflict", 0),
    ("expired", "GET", 410, "Expired", 0),
    ("error", "DELETE", 500, "InternalError", 0),
    ("unavailable", "POST", 503, "ServiceUnavailable", 0),
    ("lost-error", "POST", 500, "InternalError", 1),
])
def test_errors(proxy, api, kind, method, code, reason, executed):
    forms = set()
    proxy.on(only(kind))
    for count in range(1, 21):
        response, text = send(proxy, method)
        assert response.status == code
        assert response.getheader("Retry-After") == ("1" if code == 429 else None)
        assert api.executed == executed * count
        forms.add(response.getheader("Content-Type"))
        if response.getheader("Content-Type") == "application/json":
            status = json.loads(text)
            assert (status["kind"], status["code"], status["reason"]) == ("Status", code, reason)
            assert status.get("details") == ({"retryAfterSeconds": 1} if code == 429 else None)
    assert len(forms) == (1 if code in (409, 410) else 2)
    assert proxy.injected == {kind: 20}
    assert proxy.counted(code=str(code)) == 20


@pytest.mark.parametrize("kind", ["conflict", "expired", "lost-error"])
def test_impossible_faults_do_not_occur(proxy, kind):
    proxy.on(only(kind))
    method, path = ("GET", f"{PODS}/p") if kind != "expired" else ("POST", PODS)
    assert send(proxy, method, path)[0].status < 300
    assert not proxy.injected


# Connections --------------------------------------------------------------------


@pytest.mark.parametrize("kind, executed", [("dropped", 0), ("lost", 1)])
def test_broken_connections(proxy, api, kind, executed):
    proxy.on(only(kind))
    assert is_broken(proxy, "POST", PODS)
    assert api.executed == executed
    assert is_broken(proxy, "GET", WATCH)
    assert proxy.injected == {kind: 2} and proxy.counted(code="none") == 2
    proxy.off()
    assert send(proxy)[0].status == 200


def test_a_slow_response_is_complete(proxy):
    proxy.on(only("slow"))
    start = time.monotonic()
    response, text = send(proxy)
    assert 0.1 <= time.monotonic() - start < faults.SLOWEST + 2
    assert response.status == 200 and json.loads(text)["items"] == ["x" * 1000] * 50


def test_silence_delays_bytes_and_keeps_connections_open(proxy, api):
    api.events, api.pause = 15, 0.1
    with connection(proxy) as client:
        client.request("GET", WATCH)
        response = client.getresponse()
        assert b"p0" in response.readline()
        proxy.silence(1.5)
        start = time.monotonic()
        assert send(proxy, "POST", PODS)[0].status == 201
        assert time.monotonic() - start > 1.2
        names = [json.loads(line)["object"]["metadata"]["name"] for line in response.read().splitlines()]
        assert names == [f"p{n}" for n in range(1, 15)]
    proxy.silence(60)
    threading.Timer(0.5, proxy.off).start()
    start = time.monotonic()
    send(proxy)
    assert 0.3 < time.monotonic() - start < 5


# Watches ------------------------------------------------------------------------


def read_watch(response):
    """Read a watch to its end, and return its events and whether it was complete."""
    complete = True
    try:
        text = response.read()
    except http.client.IncompleteRead as error:
        text, complete = error.partial, False
    return [json.loads(line) for line in text.splitlines()], complete


@pytest.mark.parametrize("how", faults.ENDS)
def test_open_watches_can_be_ended(proxy, api, how):
    with connection(proxy) as client:
        client.request("GET", WATCH)
        response = client.getresponse()
        response.readline()
        proxy.end_watches(how)
        events, complete = read_watch(response)
    assert len(events) < api.events - 1
    assert complete == (how != "dropped")
    is_error = [event["type"] == "ERROR" for event in events]
    assert any(is_error) == (how == "expired") and not any(is_error[:-1])
    if how == "expired":
        assert (events[-1]["object"]["code"], events[-1]["object"]["reason"]) == (410, "Expired")
    assert proxy.injected == {f"watch-{how}": 1}


def test_watches_end_on_schedule(proxy, api):
    api.pause = 0.0
    proxy.on(faults.Schedule(3, {}))
    lengths = []
    for _ in range(20):
        with connection(proxy) as client:
            client.request("GET", WATCH)
            lengths.append(len(read_watch(client.getresponse())[0]))
    ended = [length for length in lengths if length < api.events]
    assert len(ended) == sum(proxy.injected.values()) >= 3
    assert max(ended) <= faults.WATCH_EVENTS + 1
    assert set(proxy.injected) <= {f"watch-{how}" for how in faults.ENDS}


def test_an_open_watch_survives_faults_on_and_off(proxy, api):
    api.events, api.pause = 30, 0.02
    with connection(proxy) as client:
        client.request("GET", WATCH)
        response = client.getresponse()
        proxy.on(faults.Schedule(1))
        proxy.off()
        assert len(read_watch(response)[0]) == 30


def test_a_disconnect_ends_the_watch_upstream(proxy, api):
    api.events, api.pause = 10_000, 0.01
    with connection(proxy) as client:
        client.request("GET", WATCH)
        client.getresponse().readline()
        assert len(proxy._watches) == 1
    deadline = time.monotonic() + PATIENCE
    while proxy._watches and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not proxy._watches


# Schedules ------------------------------------------------------------------------


def test_the_seed_determines_the_faults():
    def drawn(seed, *others):
        schedule = faults.Schedule(seed)
        found = []
        for _ in range(200):
            for other in others:
                schedule.of("get", other)
            found.append((schedule.of("create", "pods"), schedule.end_of_watch("pods")))
        return found

    assert drawn(1) == drawn(1, "pods", "services")
    assert drawn(1) != drawn(2)
    kinds = {fault.kind for fault, _ in drawn(1) if fault}
    assert len(kinds) > 5 and "expired" not in kinds


@pytest.mark.parametrize("method, path, content_type, expected", [
    ("GET", "/api/v1/pods", "", ("list", "pods")),
    ("GET", "/api/v1/namespaces/n/pods/p", "", ("get", "pods")),
    ("GET", "/api/v1/namespaces/n", "", ("get", "namespaces")),
    ("POST", "/api/v1/namespaces/n/pods", "", ("create", "pods")),
    ("DELETE", "/apis/apps/v1/namespaces/n/deployments/d", "", ("delete", "deployments")),
    ("PATCH", "/apis/kubernetes.dask.org/v1/namespaces/n/daskclusters/c/status", "application/apply-patch+yaml",
     ("apply", "daskclusters/status")),
    ("PATCH", "/api/v1/namespaces/n/services/s", "application/merge-patch+json", ("patch", "services")),
    ("GET", "/version", "", ("get", "version")),
])
def test_requests_are_described_by_verb_and_resource(method, path, content_type, expected):
    assert describe(method, path, {}, content_type) == expected
    if expected[0] == "list":
        assert describe(method, path, {"watch": "true"}, content_type)[0] == "watch"
