"""Rotation of the webhook's certificates while the API server sends requests."""

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

#: Arguments that make the operator renew certificates two seconds after their creation.
ARGUMENTS = ["--webhook-certificate-validity", "60s", "--webhook-renew-before", "58s"]

SECONDS = 20
CLIENTS = 8


def certificates(hook):
    """Content of the Secret with the certificates."""
    return json.loads(base64.b64decode(hook.certificates()["data"]["certificates.json"]))


def test_no_request_fails_during_certificate_rotation(reviewed, hook):
    creation_times = set()
    errors = []
    counts = [0] * CLIENTS
    end = time.monotonic() + SECONDS
    path = f"/apis/{API}/namespaces/{reviewed.namespace}/daskclusters?dryRun=All"

    # kubectl starts slowly, so all requests go through one proxy.
    proxy = subprocess.Popen(["kubectl", "proxy", "--port=0"], env=reviewed.environment, stdout=subprocess.PIPE, text=True)
    try:
        address = proxy.stdout.readline().rsplit(" ", 1)[1].strip()

        def send_requests(number):
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
        threads = [threading.Thread(target=send_requests, args=(number,)) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        while time.monotonic() < end:
            creation_times.add(certificates(hook)["current"]["made"])
            time.sleep(0.3)
        for thread in threads:
            thread.join()
    finally:
        proxy.kill()
        proxy.wait()
    print(f"{sum(counts)} requests in {SECONDS} s, {len(creation_times)} certificates, {len(errors)} errors")
    assert errors == []
    assert len(creation_times) >= SECONDS / 4, creation_times
    assert sum(counts) > 10 * SECONDS
    assert hook.operator.metric("dask_operator_webhook_requests_total", step="validate", outcome="allowed") >= sum(counts)


def test_a_removed_ca_bundle_is_restored(reviewed, hook):
    lost = [{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]
    hook.admin.patch("validatingwebhookconfiguration", hook.name, lost, type="json")
    until(hook.bundle, "the CA bundle in the configuration")
    reviewed.apply(cluster("c", 0))


def test_no_request_is_blocked_without_webhook_configurations(reviewed, hook):
    invalid = changed(cluster("c", 0), "spec.scheduler.service.ports", [{"name": "x", "port": 1}])
    with pytest.raises(Refused, match="denied the request"):
        reviewed.apply(invalid)
    hook.unconfigure()
    try:
        reviewed.apply(invalid)
        assert hook.operator.is_ready()
    finally:
        hook.configure()
        until(hook.bundle, "the CA bundle in the configuration")


def test_objects_can_be_deleted_while_the_operator_is_down(reviewed, hook):
    """The API server calls the webhook for creations and updates only."""
    reviewed.apply(cluster("c", 0))
    hook.operator.stop()
    try:
        with pytest.raises(Refused, match="failed calling webhook"):
            reviewed.apply(cluster("d", 0))
        reviewed("delete", "daskcluster", "c", "--wait=false")
    finally:
        hook.operator.start()
    reviewed.apply(cluster("d", 0))
