"""A proxy in front of an API server that injects faults.

The proxy uses HTTP/1.1 with TLS on both sides, because the operator's client (kube-rs) uses no other protocol. It forwards requests
with the credentials of the given kubeconfig, and writes another kubeconfig, with a token, for its own clients.
"""

import asyncio
import collections
import json
import secrets
import time
from pathlib import Path

import aiohttp
import faults
import kubeconfig
from aiohttp import web
from background import Background
from https import Server
from yarl import URL

#: Headers that are not forwarded: they belong to one connection or are created by this proxy.
NOT_FORWARDED = {"connection", "keep-alive", "transfer-encoding", "upgrade", "te", "trailer", "host", "authorization",
                 "content-length"}

#: Headers that aiohttp's client must not add to those of the request.
ADDED = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
#: Marks a request that is counted already.
COUNTED = web.RequestKey("counted", bool)
#: Number of pieces of a slow response.
PIECES = 4


def describe(method, path, query, content_type):
    """Return the verb and the resource of a request as in the metrics of Kubernetes: ``create``, ``pods/status``."""
    parts = [part for part in path.split("/") if part]
    depth = {"api": 2, "apis": 3}.get(parts[0] if parts else "")
    if depth is None:
        return "get", parts[0] if parts else "/"
    parts = parts[depth:]
    if parts[:1] == ["namespaces"] and len(parts) > 2:
        parts = parts[2:]
    resource = "/".join(parts[0:1] + parts[2:3])
    if method == "GET":
        verb = "watch" if query.get("watch") in ("true", "1") else "get" if len(parts) > 1 else "list"
    elif method == "PATCH":
        verb = "apply" if content_type == "application/apply-patch+yaml" else "patch"
    else:
        verb = {"POST": "create", "PUT": "update", "DELETE": "delete"}.get(method, "other")
    return verb, resource


class Broken(Exception):
    """Signal to abort the connection to the client."""


class Proxy:
    """A running proxy; leaving the ``with`` block stops it.

    The proxy forwards requests to the cluster of the kubeconfig ``upstream``, and writes its own kubeconfig and its log,
    ``proxy.jsonl``, to ``folder``.
    """

    def __init__(self, upstream, folder):
        self._access = kubeconfig.read(upstream)
        self.kubeconfig = Path(folder) / "proxy.kubeconfig"
        self._log_path = Path(folder) / "proxy.jsonl"
        self._token = secrets.token_hex(16)
        self._schedule = None
        self._watches = set()
        #: Number of requests from clients by verb, resource and status code; ``none`` without a response.
        self.requests = collections.Counter()
        #: Number of injected faults by kind; ends of watches are named ``watch-…``.
        self.injected = collections.Counter()
        #: Number of forwarded requests by verb, resource and status code of the API server.
        self.forwarded = collections.Counter()

    # Called in the thread that started it ------------------------------------

    def __enter__(self):
        self._log = self._log_path.open("a", buffering=1)
        self._background = Background().__enter__()
        self._background.call(self._start())
        return self

    def __exit__(self, *_):
        self._background.call(self._stop())
        self._background.__exit__()
        self._log.close()

    def on(self, schedule):
        """Inject the faults of a :class:`faults.Schedule` from now on."""
        self._background.call(self._set(schedule))

    def off(self):
        """Inject no more faults, and end a silence."""
        self._background.call(self._set(None))

    def silence(self, seconds):
        """Send no bytes to clients for ``seconds``, with connections open."""
        self._background.call(self._silence(seconds))

    def end_watches(self, how):
        """End all open watches in one of the ways of :data:`faults.ENDS`."""
        self._background.call(self._end_watches(how))

    def counted(self, **wanted):
        """Return the number of requests with this ``verb``, ``resource`` and ``code``, each optional."""
        names = ("verb", "resource", "code")
        return sum(count for key, count in list(self.requests.items())
                   if all(value == dict(zip(names, key, strict=True))[name] for name, value in wanted.items()))

    def writes(self):
        """Return the number of write requests."""
        return sum(count for key, count in list(self.requests.items()) if key[0] not in faults.READS)

    # Called in the event loop --------------------------------------------------

    async def _start(self):
        self._open = asyncio.Event()
        self._open.set()
        self._reopens = None
        connector = aiohttp.TCPConnector(ssl=self._access.context, limit=0)
        self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False, headers=self._access.headers,
                                              skip_auto_headers=ADDED, timeout=aiohttp.ClientTimeout(total=None, sock_connect=10))
        self._server = Server(self._handle)
        await self._server.start()
        kubeconfig.write(self.kubeconfig, self._server.address, self._server.authority, self._token)

    async def _stop(self):
        await self._set(None)
        await self._end_watches("dropped")
        await self._server.stop()
        await self._session.close()

    async def _set(self, schedule):
        self._log_entry(event="on" if schedule else "off", seed=schedule and schedule.seed)
        self._schedule = schedule
        if schedule is None:
            self._end_silence()

    async def _silence(self, seconds):
        self._log_entry(event="silence", seconds=seconds)
        self.injected["silence"] += 1
        self._end_silence()
        self._open.clear()
        self._reopens = asyncio.get_running_loop().call_later(seconds, self._open.set)

    def _end_silence(self):
        if self._reopens:
            self._reopens.cancel()
        self._open.set()

    async def _end_watches(self, how):
        for watch in self._watches:
            if not watch.done():
                watch.set_result(how)

    def _log_entry(self, **fields):
        print(json.dumps({"time": round(time.time(), 3), **fields}), file=self._log)

    async def _handle(self, request):
        content_type = request.headers.get("Content-Type", "").split(";")[0]
        verb, resource = describe(request.method, request.path, request.query, content_type)
        fault = self._schedule.of(verb, resource) if self._schedule else None
        code = "none"
        try:
            if not secrets.compare_digest(request.headers.get("Authorization", ""), f"Bearer {self._token}"):
                return web.Response(status=401, text="this proxy requires the token of its kubeconfig\n")
            response = await self._respond(request, verb, resource, fault)
            code = str(response.status)
            return response
        except (Broken, aiohttp.ClientError) as error:
            self._log_entry(event="broken", verb=verb, path=request.path, why=repr(error))
            if request.transport:
                request.transport.abort()
            return web.Response()  # not sent, because the connection is closed
        finally:
            if COUNTED not in request:
                self.requests[verb, resource, code] += 1
            if fault:
                self.injected[fault.kind] += 1
            self._log_entry(verb=verb, path=request.path, code=code, **({"fault": fault.kind} if fault else {}))

    async def _respond(self, request, verb, resource, fault):
        error = faults.response(fault) if fault else None
        if error and fault.kind != "lost-error":
            await self._open.wait()
            code, headers, body = error
            return web.Response(status=code, headers=headers, body=body)
        if fault and fault.kind == "dropped":
            raise Broken("before the request was executed")
        headers = {name: value for name, value in request.headers.items() if name.lower() not in NOT_FORWARDED}
        url = URL(self._access.server + request.raw_path, encoded=True)
        async with self._session.request(request.method, url, headers=headers, data=await request.read() or None,
                                         allow_redirects=False) as upstream:
            self.forwarded[verb, resource, str(upstream.status)] += 1
            if fault and fault.kind in ("lost", "lost-error"):
                if verb != "watch":
                    await upstream.read()
                await self._open.wait()
                if not error:
                    raise Broken("after the request was executed")
                return web.Response(status=error[0], headers=error[1], body=error[2])
            passed = {name: value for name, value in upstream.headers.items() if name.lower() not in NOT_FORWARDED}
            response = web.StreamResponse(status=upstream.status, headers=passed)
            if verb == "watch" and upstream.status == 200:
                # Count it now, because it ends much later.
                self.requests[verb, resource, "200"] += 1
                request[COUNTED] = True
                await self._open.wait()
                await response.prepare(request)
                await self._watch(upstream, response, resource)
            else:
                body = await upstream.read()
                await self._open.wait()
                response.content_length = len(body)
                await response.prepare(request)
                await self._body(response, body, fault.seconds if fault else 0)
            return response

    async def _body(self, response, body, seconds):
        """Send a body at once, or in pieces over ``seconds`` if that is not 0."""
        pieces = PIECES if seconds else 1
        size = len(body) // pieces + 1
        for start in range(0, len(body), size):
            if seconds:
                await asyncio.sleep(seconds / pieces)
            await self._open.wait()
            await response.write(body[start:start + size])
        await response.write_eof()

    async def _watch(self, upstream, response, resource):
        """Forward a watch line by line until its end, its scheduled end, or :meth:`end_watches`."""
        end = self._schedule.end_of_watch(resource) if self._schedule else None
        ended = asyncio.get_running_loop().create_future()
        self._watches.add(ended)
        forwarding = asyncio.create_task(self._forward_lines(upstream, response, end))
        try:
            await asyncio.wait({ended, forwarding}, return_when=asyncio.FIRST_COMPLETED)
            how = ended.result() if ended.done() else forwarding.result()
            if how is None:
                await response.write_eof()
                return
            await _cancel(forwarding)
            self.injected[f"watch-{how}"] += 1
            self._log_entry(event="watch ends", resource=resource, how=how)
            if how == "dropped":
                raise Broken("a watch")
            await self._open.wait()
            if how == "expired":
                await response.write(faults.error_event())
            await response.write_eof()
        finally:
            self._watches.discard(ended)
            await _cancel(forwarding)

    async def _forward_lines(self, upstream, response, end):
        """Forward whole lines. Return the scheduled way to end the watch, or None after the API server has ended it."""
        lines, rest = 0, b""
        async for chunk in upstream.content.iter_any():
            *complete, rest = (rest + chunk).split(b"\n")
            for line in complete:
                await self._open.wait()
                if end and self._schedule and lines >= end.events:
                    return end.how
                await response.write(line + b"\n")
                lines += 1
        return None


async def _cancel(task):
    """Cancel a task and wait for its end."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
