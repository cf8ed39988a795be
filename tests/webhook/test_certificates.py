"""Certificates are exchanged while the API server asks."""

import base64
import json
import subprocess
import threading
import time
import urllib.request

import pytest
from support.kubectl import Refused
from support.manifests import API, changed, cluster
from support.waiting import until

#: Certificates that are renewed two seconds after they were made.
ARGUMENTS = ["--webhook-certificate-validity", "60s", "--webhook-renew-before", "58s"]

SECONDS = 20
CLIENTS = 8


def certificates(hook):
    """What the Secret holds."""
    return json.loads(base64.b64decode(hook.certificates()["data"]["certificates.json"]))


def test_no_request_is_lost_while_certificates_are_exchanged(asked, hook):
    seen = set()
    errors = []
    counts = [0] * CLIENTS
    end = time.monotonic() + SECONDS
    path = f"/apis/{API}/namespaces/{asked.namespace}/daskclusters?dryRun=All"

    # kubectl starts slowly: one proxy carries all requests.
    proxy = subprocess.Popen(["kubectl", "proxy", "--port=0"], env=asked.environment, stdout=subprocess.PIPE, text=True)
    try:
        address = proxy.stdout.readline().rsplit(" ", 1)[1].strip()

        def load(number):
            body = json.dumps(cluster(f"c-{number}", 0)).encode()
            while time.monotonic() < end:
                request = urllib.request.Request(f"http://{address}{path}", data=body, method="POST",
                                                 headers={"Content-Type": "application/json"})
                try:
                    with urllib.request.urlopen(request, timeout=20) as answer:
                        answer.read()
                    counts[number] += 1
                except OSError as error:
                    text = error.read().decode() if hasattr(error, "read") else str(error)
                    errors.append(text)
        threads = [threading.Thread(target=load, args=(number,)) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        while time.monotonic() < end:
            seen.add(certificates(hook)["current"]["made"])
            time.sleep(0.3)
        for thread in threads:
            thread.join()
    finally:
        proxy.kill()
        proxy.wait()
    print(f"{sum(counts)} requests in {SECONDS} s, {len(seen)} certificates, {len(errors)} errors")
    assert errors == []
    assert len(seen) >= SECONDS / 4, seen
    assert sum(counts) > 10 * SECONDS
    assert hook.operator.metric("dask_operator_webhook_requests_total", step="validate", outcome="allowed") >= sum(counts)


def test_a_bundle_that_was_lost_is_given_again(asked, hook):
    lost = [{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]
    hook.admin.patch("validatingwebhookconfiguration", hook.name, lost, type="json")
    until(hook.bundle, "the bundle")
    asked.apply(cluster("c", 0))


def test_nothing_is_blocked_without_configurations(asked, hook):
    wrong = changed(cluster("c", 0), "spec.scheduler.service.ports", [{"name": "x", "port": 1}])
    with pytest.raises(Refused, match="denied the request"):
        asked.apply(wrong)
    hook.unconfigure()
    try:
        asked.apply(wrong)
        assert hook.operator.is_ready()
    finally:
        hook.configure()
        until(hook.bundle, "the bundle")


def test_objects_that_are_wrong_can_go_when_the_operator_is_away(asked, hook):
    """Only creations and updates are asked about."""
    asked.apply(cluster("c", 0))
    hook.operator.stop()
    try:
        with pytest.raises(Refused, match="failed calling webhook"):
            asked.apply(cluster("d", 0))
        asked("delete", "daskcluster", "c", "--wait=false")
    finally:
        hook.operator.start()
    asked.apply(cluster("d", 0))
