"""A proxy before an API server that injects faults.

It speaks HTTP/1.1 with TLS on both sides, as the operator's client does (kube-rs asks for nothing else). It forwards
with the rights of the kubeconfig that it is given, and writes another one, with a token, for who shall go through it.
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

#: Headers that belong to one connection, and those that are made anew.
NOT_FORWARDED = {"connection", "keep-alive", "transfer-encoding", "upgrade", "te", "trailer", "host", "authorization",
                 "content-length"}

#: Headers that the client would add to those that came.
ADDED = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
#: Says of a request that it has been counted.
COUNTED = web.RequestKey("counted", bool)
#: How many pieces a slow answer comes in.
PIECES = 4


def describe(method, path, query, content_type):
    """Verb and resource of a request, as Kubernetes' own metrics name them: ``create``, ``pods/status``."""
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
    """The connection to the client is to be broken."""


class Proxy:
    """A running proxy; ``with`` ends it. It forwards to the cluster of ``upstream``, a kubeconfig, and puts its own
    kubeconfig and its log, ``proxy.jsonl``, into ``folder``."""

    def __init__(self, upstream, folder):
        self._access = kubeconfig.read(upstream)
        self.kubeconfig = Path(folder) / "proxy.kubeconfig"
        self._log_path = Path(folder) / "proxy.jsonl"
        self._token = secrets.token_hex(16)
        self._schedule = None
        self._watches = set()
        #: Requests that clients sent, by verb, resource and the code that they were answered; ``none`` is no answer.
        self.requests = collections.Counter()
        #: Faults that were injected, by kind; those of watches are named ``watch-…``.
        self.injected = collections.Counter()
        #: What the API server was asked and answered, by verb, resource and code.
        self.forwarded = collections.Counter()

    # For the thread that started it -----------------------------------------

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
        """From now on requests meet the faults of a :class:`faults.Schedule`."""
        self._background.call(self._set(schedule))

    def off(self):
        """From now on everything passes; a silence is over."""
        self._background.call(self._set(None))

    def silence(self, seconds):
        """For so long clients get no byte. Connections stay."""
        self._background.call(self._silence(seconds))

    def end_watches(self, how):
        """End all watches that are open, as one of :data:`faults.ENDS`."""
        self._background.call(self._end_watches(how))

    def counted(self, **wanted):
        """How many requests there were: of a ``verb``, a ``resource``, a ``code``, or all."""
        names = ("verb", "resource", "code")
        return sum(count for key, count in list(self.requests.items())
                   if all(value == dict(zip(names, key, strict=True))[name] for name, value in wanted.items()))

    def writes(self):
        """How many requests there were that change something."""
        return sum(count for key, count in list(self.requests.items()) if key[0] not in faults.READS)

    # In its loop --------------------------------------------------------------

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
        self._note(event="on" if schedule else "off", seed=schedule and schedule.seed)
        self._schedule = schedule
        if schedule is None:
            self._speak()

    async def _silence(self, seconds):
        self._note(event="silence", seconds=seconds)
        self.injected["silence"] += 1
        self._speak()
        self._open.clear()
        self._reopens = asyncio.get_running_loop().call_later(seconds, self._open.set)

    def _speak(self):
        if self._reopens:
            self._reopens.cancel()
        self._open.set()

    async def _end_watches(self, how):
        for watch in self._watches:
            if not watch.done():
                watch.set_result(how)

    def _note(self, **fields):
        print(json.dumps({"time": round(time.time(), 3), **fields}), file=self._log)

    async def _handle(self, request):
        content_type = request.headers.get("Content-Type", "").split(";")[0]
        verb, resource = describe(request.method, request.path, request.query, content_type)
        fault = self._schedule.of(verb, resource) if self._schedule else None
        code = "none"
        try:
            if not secrets.compare_digest(request.headers.get("Authorization", ""), f"Bearer {self._token}"):
                return web.Response(status=401, text="this proxy wants the token of its kubeconfig\n")
            response = await self._answer(request, verb, resource, fault)
            code = str(response.status)
            return response
        except (Broken, aiohttp.ClientError) as error:
            self._note(event="broken", verb=verb, path=request.path, why=repr(error))
            if request.transport:
                request.transport.abort()
            return web.Response()  # goes nowhere
        finally:
            if COUNTED not in request:
                self.requests[verb, resource, code] += 1
            if fault:
                self.injected[fault.kind] += 1
            self._note(verb=verb, path=request.path, code=code, **({"fault": fault.kind} if fault else {}))

    async def _answer(self, request, verb, resource, fault):
        made = faults.answer(fault) if fault else None
        if made and fault.kind != "lost-error":
            await self._open.wait()
            code, headers, body = made
            return web.Response(status=code, headers=headers, body=body)
        if fault and fault.kind == "dropped":
            raise Broken("before it was carried out")
        headers = {name: value for name, value in request.headers.items() if name.lower() not in NOT_FORWARDED}
        url = URL(self._access.server + request.raw_path, encoded=True)
        async with self._session.request(request.method, url, headers=headers, data=await request.read() or None,
                                         allow_redirects=False) as answer:
            self.forwarded[verb, resource, str(answer.status)] += 1
            if fault and fault.kind in ("lost", "lost-error"):
                if verb != "watch":
                    await answer.read()
                await self._open.wait()
                if not made:
                    raise Broken("after it was carried out")
                return web.Response(status=made[0], headers=made[1], body=made[2])
            passed = {name: value for name, value in answer.headers.items() if name.lower() not in NOT_FORWARDED}
            response = web.StreamResponse(status=answer.status, headers=passed)
            if verb == "watch" and answer.status == 200:
                # It ends much later.
                self.requests[verb, resource, "200"] += 1
                request[COUNTED] = True
                await self._open.wait()
                await response.prepare(request)
                await self._watch(answer, response, resource)
            else:
                body = await answer.read()
                await self._open.wait()
                response.content_length = len(body)
                await response.prepare(request)
                await self._body(response, body, fault.seconds if fault else 0)
            return response

    async def _body(self, response, body, seconds):
        """Sends a body at once, or in pieces that take so long together."""
        pieces = PIECES if seconds else 1
        size = len(body) // pieces + 1
        for start in range(0, len(body), size):
            if seconds:
                await asyncio.sleep(seconds / pieces)
            await self._open.wait()
            await response.write(body[start:start + size])
        await response.write_eof()

    async def _watch(self, answer, response, resource):
        """Passes a watch on, whole lines at a time, to its end or to the one that it is given."""
        end = self._schedule.end_of_watch(resource) if self._schedule else None
        told = asyncio.get_running_loop().create_future()
        self._watches.add(told)
        passing = asyncio.create_task(self._pass_lines(answer, response, end))
        try:
            await asyncio.wait({told, passing}, return_when=asyncio.FIRST_COMPLETED)
            how = told.result() if told.done() else passing.result()
            if how is None:
                await response.write_eof()
                return
            await _ended(passing)
            self.injected[f"watch-{how}"] += 1
            self._note(event="watch ends", resource=resource, how=how)
            if how == "dropped":
                raise Broken("a watch")
            await self._open.wait()
            if how == "expired":
                await response.write(faults.error_event())
            await response.write_eof()
        finally:
            self._watches.discard(told)
            await _ended(passing)

    async def _pass_lines(self, answer, response, end):
        """Passes whole lines on. Returns how the watch is to end, or None where the server has ended it."""
        lines, rest = 0, b""
        async for chunk in answer.content.iter_any():
            *complete, rest = (rest + chunk).split(b"\n")
            for line in complete:
                await self._open.wait()
                if end and self._schedule and lines >= end.events:
                    return end.how
                await response.write(line + b"\n")
                lines += 1
        return None


async def _ended(task):
    """Cancel a task and wait for its end."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
