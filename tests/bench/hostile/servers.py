"""What a hostile tenant serves: a Dask scheduler and a registry that answer too much, too slowly, and what nobody asked for."""

import itertools
import json
import socket
import ssl
import struct
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

#: Bytes of the largest answers.
HUGE = 64 << 20
#: Bytes of the largest message that the operator takes.
LARGEST = 32 << 20
#: Bytes that are sent at once.
PIECE = b"x" * 65536


def pack(value):
    """A value as MessagePack: what a scheduler sends."""
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
    """A message of one frame: the length of what follows, the number of frames, the length of each."""
    return struct.pack("<QQQ", 16 + len(body), 1, len(body)) + body


GREETING = frames(pack({"compression": None, "python": [3, 11, 0], "pickle-protocol": 5}))


def workers(size):
    """An answer to `identity` of this many bytes: workers with names of five letters, of which nothing else is said."""
    count = size // 7
    letters = b"abcdefghijklmnopqrstuvwxyz0123456789"
    names = itertools.islice(itertools.product(letters, repeat=5), count)
    head = b"\x83" + b"".join(pack(text) for text in ("type", "Scheduler", "id", "hostile", "workers"))
    entries = b"".join(b"\xa5" + bytes(name) + b"\x80" for name in names)
    return head + b"\xdf" + struct.pack(">I", count) + entries


def skip(received):
    """Read over a message; whether there was one."""
    head = received.read(8)
    return len(head) == 8 and bool(received.read(struct.unpack("<Q", head)[0]))


class Counted:
    """Counts what it was asked."""

    def __init__(self):
        self.lock = threading.Lock()
        self.tries = 0
        self.told = 0

    def count(self):
        """One more."""
        with self.lock:
            self.tries += 1
            return self.tries

    def new_tries(self):
        """How often it was asked since this was called last."""
        with self.lock:
            new, self.told = self.tries - self.told, self.tries
            return new


class Scheduler(Counted):
    """A scheduler at an address of this machine, each of whose answers is another attack."""

    def __init__(self, host):
        super().__init__()
        self.listener = socket.create_server((host, 0))
        self.port = self.listener.getsockname()[1]
        body = workers(LARGEST - 256)
        deep = b"\x91" * (8 << 20) + b"\xc0"
        workers_of_all, too_large, nested = map(frames, (body, bytes(HUGE), deep))
        #: Whole answers, one of which is too large; a length without its bytes; bytes one by one.
        self.answers = [
            lambda connection: connection.sendall(workers_of_all),
            lambda connection: connection.sendall(too_large),
            lambda connection: connection.sendall(nested),
            lambda connection: connection.sendall(struct.pack("<QQQ", 2**62, 2**40, 2**40)),
            self.drip,
        ]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        """Take connections for ever."""
        while True:
            connection, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        """Greet, and answer whatever is asked."""
        try:
            with connection:
                connection.settimeout(120)
                connection.sendall(GREETING)
                received = connection.makefile("rb")
                skip(received)
                while skip(received):
                    number = self.count()
                    self.answers[number % len(self.answers)](connection)
        except OSError:
            pass  # the other has had enough

    def drip(self, connection):
        """A byte a second."""
        for byte in frames(pack({"type": "Scheduler", "workers": {}})):
            connection.sendall(bytes([byte]))
            time.sleep(1)


class Registry(Counted):
    """A registry with TLS whose repositories each answer in a way of their own."""

    #: Their names; the rest of the path does not matter.
    REPOSITORIES = ("endless", "slow", "errors", "redirect", "newline", "token")

    def __init__(self, host, port, certificate):
        super().__init__()
        handler = type("Handler", (Answers,), {"registry": self})
        self.server = ThreadingHTTPServer((host, port), handler)
        self.server.daemon_threads = True
        self.address = f"{host}:{self.server.server_port}"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Answers(BaseHTTPRequestHandler):
    """What it answers."""

    protocol_version = "HTTP/1.1"
    registry = None

    def log_message(self, *_):
        """Say nothing."""

    def do_GET(self):
        """Answer by the repository that is meant."""
        self.registry.count()
        self.close_connection = True
        url = urllib.parse.urlsplit(self.path)
        try:
            if url.path == "/token":
                scope = urllib.parse.parse_qs(url.query).get("scope", [""])[0]
                self.token(next((name for name in Registry.REPOSITORIES if name in scope), ""))
            elif url.path.rstrip("/") == "/v2":
                realm = f'Bearer realm="https://{self.registry.address}/token",service="hostile"'
                self.begin(401, {"WWW-Authenticate": realm, "Content-Length": "0"})
            else:
                self.manifest(next((name for name in Registry.REPOSITORIES if f"/{name}/" in url.path), ""))
        except OSError:
            pass  # the other has had enough

    do_HEAD = do_GET

    def begin(self, status, headers):
        """The head of an answer."""
        self.send_response(status)
        for name, value in {**headers, "Connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()

    def token(self, repository):
        """A token: one that is no header, one that never ends, or a plain one."""
        if repository == "token":
            self.begin(200, {"Content-Type": "application/json"})
            self.pour(b'{"token":"')
            return
        body = json.dumps({"token": "a\nb" if repository == "newline" else "t"}).encode()
        self.begin(200, {"Content-Type": "application/json", "Content-Length": str(len(body))})
        self.wfile.write(body)

    def manifest(self, repository):
        """A manifest, or what there is in its place."""
        kind = {"Content-Type": "application/vnd.oci.image.manifest.v1+json"}
        if repository == "redirect":
            self.begin(302, {"Location": "http://169.254.169.254/latest/meta-data/", "Content-Length": "0"})
        elif repository == "slow":
            self.begin(200, kind)
            for _ in range(600):
                self.wfile.write(b" ")
                self.wfile.flush()
                time.sleep(1)
        else:
            self.begin(500 if repository == "errors" else 200, kind)
            self.pour(b'{"schemaVersion":2,"annotations":{"a":"')

    def pour(self, head):
        """Bytes until the other goes, or a gigabyte."""
        self.wfile.write(head)
        for _ in range((16 * HUGE) // len(PIECE)):
            self.wfile.write(PIECE)
