"""Servers of the hostile tenant: a Dask scheduler and a registry with huge, slow and invalid responses."""

import itertools
import json
import socket
import ssl
import struct
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

#: Size of the largest responses in bytes.
HUGE = 64 << 20
#: Size of the largest message that the operator accepts, in bytes.
LARGEST = 32 << 20
#: Bytes of one write.
PIECE = b"x" * 65536


def pack(value):
    """Return a value as MessagePack, the encoding of a scheduler's messages."""
    if value is None:
        return b"\xc0"
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return b"\xcf" + struct.pack(">Q", value)
    if isinstance(value, float):
        return b"\xcb" + struct.pack(">d", value)
    if isinstance(value, str):
        text = value.encode()
        return b"\xdb" + struct.pack(">I", len(text)) + text
    if isinstance(value, dict):
        return b"\xdf" + struct.pack(">I", len(value)) + b"".join(pack(key) + pack(inner) for key, inner in value.items())
    return b"\xdd" + struct.pack(">I", len(value)) + b"".join(map(pack, value))


def frames(body):
    """Return a message of one frame: the length of the rest, the number of frames, the length of each frame, and the frame."""
    return struct.pack("<QQQ", 16 + len(body), 1, len(body)) + body


GREETING = frames(pack({"compression": None, "python": [3, 11, 0], "pickle-protocol": 5}))


def workers(size):
    """Return a response to `identity` of about ``size`` bytes: workers with names of five characters and no other data."""
    count = size // 7
    letters = b"abcdefghijklmnopqrstuvwxyz0123456789"
    names = itertools.islice(itertools.product(letters, repeat=5), count)
    head = b"\x83" + b"".join(pack(text) for text in ("type", "Scheduler", "id", "hostile", "workers"))
    entries = b"".join(b"\xa5" + bytes(name) + b"\x80" for name in names)
    return head + b"\xdf" + struct.pack(">I", count) + entries


def skip(received):
    """Skip a message, and return whether there was one."""
    head = received.read(8)
    return len(head) == 8 and bool(received.read(struct.unpack("<Q", head)[0]))


class Counted:
    """Counter of received requests."""

    def __init__(self):
        self.lock = threading.Lock()
        self.tries = 0
        self.reported = 0

    def count(self):
        """Count a request, and return the total."""
        with self.lock:
            self.tries += 1
            return self.tries

    def new_tries(self):
        """Return the number of requests since the last call."""
        with self.lock:
            new, self.reported = self.tries - self.reported, self.tries
            return new


class Scheduler(Counted):
    """A scheduler at an address of this machine whose responses are attacks, each in turn."""

    def __init__(self, host):
        super().__init__()
        self.listener = socket.create_server((host, 0))
        self.port = self.listener.getsockname()[1]
        body = workers(LARGEST - 256)
        deep = b"\x91" * (8 << 20) + b"\xc0"
        workers_of_all, too_large, nested = map(frames, (body, bytes(HUGE), deep))
        #: Complete responses, one of which is too large and one deeply nested; a length without data; a byte per second.
        self.responses = [
            lambda connection: connection.sendall(workers_of_all),
            lambda connection: connection.sendall(too_large),
            lambda connection: connection.sendall(nested),
            lambda connection: connection.sendall(struct.pack("<QQQ", 2**62, 2**40, 2**40)),
            self.drip,
        ]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        """Accept connections until the process exits."""
        while True:
            connection, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        """Send the greeting, and respond to every message."""
        try:
            with connection:
                connection.settimeout(120)
                connection.sendall(GREETING)
                received = connection.makefile("rb")
                skip(received)
                while skip(received):
                    number = self.count()
                    self.responses[number % len(self.responses)](connection)
        except OSError:
            pass  # the client has closed the connection

    def drip(self, connection):
        """Send a valid response, one byte per second."""
        for byte in frames(pack({"type": "Scheduler", "workers": {}})):
            connection.sendall(bytes([byte]))
            time.sleep(1)


class Registry(Counted):
    """A registry with TLS each of whose repositories is another attack."""

    #: Names of the repositories; the rest of the path is ignored.
    REPOSITORIES = ("endless", "slow", "errors", "redirect", "newline", "token")

    def __init__(self, host, port, certificate):
        super().__init__()
        handler = type("Handler", (Handler,), {"registry": self})
        self.server = ThreadingHTTPServer((host, port), handler)
        self.server.daemon_threads = True
        self.address = f"{host}:{self.server.server_port}"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    """Request handler of the registry."""

    protocol_version = "HTTP/1.1"
    registry = None

    def log_message(self, *_):
        """Log nothing."""

    def do_GET(self):
        """Respond according to the repository in the path or, for a token, in the scope."""
        self.registry.count()
        self.close_connection = True
        url = urllib.parse.urlsplit(self.path)
        try:
            if url.path == "/token":
                scope = urllib.parse.parse_qs(url.query).get("scope", [""])[0]
                self.token(next((name for name in Registry.REPOSITORIES if name in scope), ""))
            elif url.path.rstrip("/") == "/v2":
                realm = f'Bearer realm="https://{self.registry.address}/token",service="hostile"'
                self.send_head(401, {"WWW-Authenticate": realm, "Content-Length": "0"})
            else:
                self.manifest(next((name for name in Registry.REPOSITORIES if f"/{name}/" in url.path), ""))
        except OSError:
            pass  # the client has closed the connection

    do_HEAD = do_GET

    def send_head(self, status, headers):
        """Send the head of a response."""
        self.send_response(status)
        for name, value in {**headers, "Connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()

    def token(self, repository):
        """Send a token: one that is invalid in a header, one that never ends, or a valid one."""
        if repository == "token":
            self.send_head(200, {"Content-Type": "application/json"})
            self.pour(b'{"token":"')
            return
        body = json.dumps({"token": "a\nb" if repository == "newline" else "t"}).encode()
        self.send_head(200, {"Content-Type": "application/json", "Content-Length": str(len(body))})
        self.wfile.write(body)

    def manifest(self, repository):
        """Send the response of a repository in place of a manifest."""
        kind = {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}
        if repository == "redirect":
            self.send_head(302, {"Location": "http://169.254.169.254/latest/meta-data/", "Content-Length": "0"})
        elif repository == "slow":
            self.send_head(200, kind)
            for _ in range(600):
                self.wfile.write(b" ")
                self.wfile.flush()
                time.sleep(1)
        else:
            self.send_head(500 if repository == "errors" else 200, kind)
            self.pour(b'{"schemaVersion":2,"annotations":{"a":"')

    def pour(self, head):
        """Send bytes until the client closes the connection, at most a gigabyte."""
        self.wfile.write(head)
        for _ in range((16 * HUGE) // len(PIECE)):
            self.wfile.write(PIECE)
