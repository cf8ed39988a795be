"""Faults between the operator and the API server, and their schedule, which is determined by a seed. Pure."""

import json
import random
from dataclasses import dataclass

#: Verbs of requests that change nothing.
READS = frozenset({"get", "list", "watch"})

#: Probability of each fault of a request for which it can occur. About a fifth of all requests have a fault.
RATES = {
    "throttled": 0.04,  # 429 with Retry-After; the request is not executed
    "conflict": 0.03,  # 409 for a write; the request is not executed
    "expired": 0.05,  # 410 for a list or watch
    "error": 0.02,  # 500; the request is not executed
    "unavailable": 0.02,  # 503; the request is not executed
    "dropped": 0.02,  # the connection is aborted; the request is not executed
    "lost-error": 0.02,  # 500 although the request was executed
    "lost": 0.03,  # the connection is aborted after the request was executed
    "slow": 0.05,  # the response is late and arrives in pieces
}

#: Early ends of a watch that started successfully: its connection is aborted, it gets an ERROR event with 410, or it is closed.
ENDS = ("dropped", "expired", "closed")
#: Probability of an early end of a watch.
WATCH_ENDS = 0.3
#: Maximum number of events before an early end.
WATCH_EVENTS = 40
#: Maximum duration of a slow response in seconds.
SLOWEST = 3.0


@dataclass(frozen=True)
class Fault:
    """A fault of one request."""

    #: A key of :data:`RATES`.
    kind: str
    #: Duration of a slow response in seconds.
    seconds: float = 0.0
    #: True if the body of an error is a Status, as in most errors of the API server. False if it is a line of text, as in
    #: errors of its rate limiter and of load balancers.
    has_status: bool = True


@dataclass(frozen=True)
class WatchEnd:
    """An early end of a watch."""

    #: One of :data:`ENDS`.
    how: str
    #: Number of events before the end.
    events: int


class Schedule:
    """Selects the fault of each request.

    With the same seed, the nth request of a verb and a resource has the same fault, independently of all other requests.
    """

    def __init__(self, seed, rates=None):
        self.seed = seed
        self.rates = dict(RATES if rates is None else rates)
        self._counts = {}

    def _random(self, *key):
        count = self._counts[key] = self._counts.get(key, 0) + 1
        return random.Random(f"{self.seed}:{':'.join(key)}:{count}")

    def of(self, verb, resource):
        """Return the fault of the next request of a verb and a resource, or None."""
        chance = self._random(verb, resource)
        drawn = chance.random()
        for kind, rate in self.rates.items():
            if drawn < rate:
                return Fault(kind, chance.uniform(0.1, SLOWEST), chance.random() < 0.7) if occurs(kind, verb) else None
            drawn -= rate
        return None

    def end_of_watch(self, resource):
        """Return the early end of a watch that has started, or None."""
        chance = self._random("end", resource)
        if chance.random() >= WATCH_ENDS:
            return None
        return WatchEnd(chance.choice(ENDS), chance.randint(0, WATCH_EVENTS))


def occurs(kind, verb):
    """Return whether requests of this verb can have a fault of this kind."""
    if kind in ("conflict", "lost-error"):
        return verb not in READS
    if kind == "expired":
        return verb in ("list", "watch")
    return kind != "slow" or verb != "watch"


#: Code, reason and message of faults that are an error response.
_RESPONSES = {
    "throttled": (429, "TooManyRequests", "too many requests, please try again later"),
    "conflict": (409, "Conflict", "the object has been modified; please apply your changes to the latest version and try again"),
    "expired": (410, "Expired", "too old resource version: 1 (2)"),
    "error": (500, "InternalError", "Internal error occurred: etcdserver: request timed out"),
    "lost-error": (500, "InternalError", "Internal error occurred: etcdserver: request timed out"),
    "unavailable": (503, "ServiceUnavailable", "the server is currently unable to handle the request"),
}


def response(fault):
    """Return the code, headers and body of a fault that is an error response, or None for other faults."""
    if fault.kind not in _RESPONSES:
        return None
    code, _, message = _RESPONSES[fault.kind]
    headers = {"Retry-After": "1"} if code == 429 else {}
    # A response about an object always has a Status. An error before the object was reached may not.
    if code in (409, 410) or fault.has_status:
        return code, {**headers, "Content-Type": "application/json"}, json.dumps(status(fault.kind)).encode()
    return code, {**headers, "Content-Type": "text/plain; charset=utf-8"}, f"{message}\n".encode()


def status(kind):
    """Return the Status object of a fault."""
    code, reason, message = _RESPONSES[kind]
    details = {"details": {"retryAfterSeconds": 1}} if code == 429 else {}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
            "reason": reason, **details, "code": code}


def error_event(kind="expired"):
    """Return the line of a watch for an ERROR event."""
    return json.dumps({"type": "ERROR", "object": status(kind)}).encode() + b"\n"
