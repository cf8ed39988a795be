"""What can go wrong between the operator and the API server, and when: a seed decides."""

import json
import random
from dataclasses import dataclass

#: Verbs that change nothing.
READS = frozenset({"get", "list", "watch"})

#: Faults of a request, and how often each is chosen where it can occur. About a fifth of all requests meet one.
RATES = {
    "throttled": 0.04,  # 429 with Retry-After; nothing is done
    "conflict": 0.03,  # 409 of a write; nothing is done
    "expired": 0.05,  # 410 of a list or watch
    "error": 0.02,  # 500; nothing is done
    "unavailable": 0.02,  # 503; nothing is done
    "dropped": 0.02,  # the connection breaks; nothing is done
    "lost-error": 0.02,  # 500, and yet the request was carried out
    "lost": 0.03,  # the connection breaks after the request was carried out
    "slow": 0.05,  # the answer comes, late and in pieces
}

#: How a watch that began well ends early: its connection breaks, an ERROR event says 410, or the server closes it.
ENDS = ("dropped", "expired", "closed")
#: How often a watch is given such an end.
WATCH_ENDS = 0.3
#: After how many events at the most.
WATCH_EVENTS = 40
#: Seconds that a slow answer takes at the most.
SLOWEST = 3.0


@dataclass(frozen=True)
class Fault:
    """What happens to one request."""

    #: A key of :data:`RATES`.
    kind: str
    #: Seconds, of a slow answer.
    seconds: float = 0.0
    #: Whether an error has a Status as its body, as the API server's own have, or a line of text, as those of its rate
    #: limiter and of load balancers have.
    has_status: bool = True


@dataclass(frozen=True)
class WatchEnd:
    """How and when a watch ends early."""

    #: One of :data:`ENDS`.
    how: str
    #: After so many events.
    events: int


class Schedule:
    """Decides for each request. The nth request of a verb and a resource meets the same fault whenever the seed is the
    same, whatever other requests come in between."""

    def __init__(self, seed, rates=None):
        self.seed = seed
        self.rates = dict(RATES if rates is None else rates)
        self._counts = {}

    def _random(self, *key):
        count = self._counts[key] = self._counts.get(key, 0) + 1
        return random.Random(f"{self.seed}:{':'.join(key)}:{count}")

    def of(self, verb, resource):
        """The fault of the next request, or None."""
        chance = self._random(verb, resource)
        drawn = chance.random()
        for kind, rate in self.rates.items():
            if drawn < rate:
                return Fault(kind, chance.uniform(0.1, SLOWEST), chance.random() < 0.7) if occurs(kind, verb) else None
            drawn -= rate
        return None

    def end_of_watch(self, resource):
        """How a watch that has begun ends early, or None."""
        chance = self._random("end", resource)
        if chance.random() >= WATCH_ENDS:
            return None
        return WatchEnd(chance.choice(ENDS), chance.randint(0, WATCH_EVENTS))


def occurs(kind, verb):
    """Whether requests of this verb can meet a fault."""
    if kind in ("conflict", "lost-error"):
        return verb not in READS
    if kind == "expired":
        return verb in ("list", "watch")
    return kind != "slow" or verb != "watch"


#: Code, reason and message of faults that are an answer.
_ANSWERS = {
    "throttled": (429, "TooManyRequests", "too many requests, please try again later"),
    "conflict": (409, "Conflict", "the object has been modified; please apply your changes to the latest version and try again"),
    "expired": (410, "Expired", "too old resource version: 1 (2)"),
    "error": (500, "InternalError", "Internal error occurred: etcdserver: request timed out"),
    "lost-error": (500, "InternalError", "Internal error occurred: etcdserver: request timed out"),
    "unavailable": (503, "ServiceUnavailable", "the server is currently unable to handle the request"),
}


def answer(fault):
    """Code, headers and body of a fault that is an answer, or None."""
    if fault.kind not in _ANSWERS:
        return None
    code, _, message = _ANSWERS[fault.kind]
    headers = {"Retry-After": "1"} if code == 429 else {}
    # What was decided about an object always has a Status; what never reached it may not.
    if code in (409, 410) or fault.has_status:
        return code, {**headers, "Content-Type": "application/json"}, json.dumps(status(fault.kind)).encode()
    return code, {**headers, "Content-Type": "text/plain; charset=utf-8"}, f"{message}\n".encode()


def status(kind):
    """The Status object of a fault."""
    code, reason, message = _ANSWERS[kind]
    details = {"details": {"retryAfterSeconds": 1}} if code == 429 else {}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
            "reason": reason, **details, "code": code}


def error_event(kind="expired"):
    """A line of a watch that says that it has failed."""
    return json.dumps({"type": "ERROR", "object": status(kind)}).encode() + b"\n"
