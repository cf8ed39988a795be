"""Smoke test of everything that other tests rely on, on real clusters next to any other.

Run ``python3 tests/cluster smoke`` or, in the folder ``tests/cluster``, ``python3 -m unittest localkube.smoke``.
"""

import json
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import unittest
import urllib.error
import urllib.request

from . import pki, programs, teardown
from .kube import Api, ApiError
from .processes import wait_until
from .running import KEEPER, Running
from .settings import Cluster
from .smoketools import (
    BESIDE,
    HERE,
    MAIN,
    OPENER,
    cli,
    fetch,
    kubectl,
    refuse_all,
    server,
    service,
)


class Smoke(unittest.TestCase):
    """Tests on one cluster, each in its own namespace."""

    maxDiff = None

    @classmethod
    def setUpClass(cls):
        for cluster in (MAIN, BESIDE):
            cli("down", cluster=cluster)
        started = time.monotonic()
        sys.stderr.write(cli("up").stderr)
        cls.seconds = time.monotonic() - started
        cls.api = Api(MAIN)

    @classmethod
    def tearDownClass(cls):
        cls.api.close()
        for cluster in (MAIN, BESIDE):
            cli("down", cluster=cluster)
        left = [line for cluster in (MAIN, BESIDE) for line in teardown.leftovers([cluster.name])]
        left += [line for line in teardown.leftovers() if str(MAIN.range) in line or str(BESIDE.range) in line or "outside any cluster" in line]
        assert not left, left

    def setUp(self):
        self.namespace = self.id().rpartition(".")[2].replace("_", "-").removeprefix("test-")[:60]
        kubectl("create", "namespace", self.namespace)
        self.addCleanup(lambda: kubectl("delete", "namespace", self.namespace, "--wait=false", check=False))
        # A controller creates the service account shortly after the namespace.
        self.kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=30s")

    def kubectl(self, *arguments, **options):
        """Run kubectl in the test's namespace."""
        return kubectl("--namespace", self.namespace, *arguments, **options)

    def apply(self, *objects):
        """Create objects in the test's namespace."""
        self.kubectl("apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def pods(self, label=None):
        """Return the namespace's pods, optionally only those with a label ``app``."""
        query = f"?labelSelector=app%3D{label}" if label else ""
        return self.api.get(f"/api/v1/namespaces/{self.namespace}/pods{query}")["items"]

    def events(self):
        """Return the reason and message of each of the namespace's events."""
        return [(item["reason"], item["message"]) for item in self.api.get(f"/api/v1/namespaces/{self.namespace}/events")["items"]]

    def eventually(self, condition, message, timeout=60):
        """Wait until ``condition`` returns true. A failure shows the namespace's pods and events."""
        if not wait_until(condition, timeout, every=0.2):
            pods = [(pod["metadata"]["name"], pod["status"]) for pod in self.pods()]
            self.fail(f"{message}\npods: {json.dumps(pods, indent=1)}\nevents: {self.events()}")

    def rolled_out(self, *names):
        """Wait until all pods of Deployments are ready."""
        for name in names:
            self.kubectl("rollout", "status", f"deployment/{name}", "--timeout=90s")

    def test_services_are_reachable_by_name(self):
        """Pods reach each other's Services by name, and the host reaches Services and pods by address."""
        self.apply(server("one", 2), service("one"), server("two", 2), service("two"))
        self.rolled_out("one", "two")
        for source, target in (("one", "two"), ("two", "one"), ("one", "one")):
            for url in (f"http://{target}/", f"http://{target}.{self.namespace}.svc.cluster.local/"):
                code = f"import urllib.request; print(urllib.request.urlopen('{url}', timeout=5).status)"
                self.eventually(lambda: self.kubectl("exec", f"deploy/{source}", "--", "python", "-c", code, check=False) == "200\n",  # pylint: disable=cell-var-from-loop
                                f"{source} cannot fetch {url}")
        address = self.api.get(f"/api/v1/namespaces/{self.namespace}/services/one")["spec"]["clusterIP"]
        self.assertEqual(fetch(f"http://{address}/"), 200)
        for pod in self.pods():
            self.assertEqual(fetch(f"http://{pod['status']['podIP']}:8000/"), 200)

    def test_dask(self):
        """Dask computes in pods with the arguments of its documented manifests, with NumPy, and its dashboard (Bokeh) is served."""
        probe = {"httpGet": {"port": 8787, "path": "/health"}, "periodSeconds": 1}
        scheduler = server("scheduler", args=["dask-scheduler"], readinessProbe=probe)
        ports = [{"name": "tcp-comm", "port": 8786}, {"name": "http-dashboard", "port": 8787}]
        address = f"tcp://scheduler.{self.namespace}.svc.cluster.local:8786"
        worker = server("worker", 2, args=["dask-worker", "--name", "$(DASK_WORKER_NAME)", address],
                        env=[{"name": "DASK_WORKER_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}])
        exposed = service("scheduler")
        exposed["spec"]["ports"] = ports
        self.apply(scheduler, exposed, worker)
        self.rolled_out("scheduler", "worker")
        program = ("from distributed import Client; import dask.array as da; client = Client('tcp://scheduler:8786', timeout=30);"
                   "client.wait_for_workers(2, timeout=60); print(int(da.arange(1000, chunks=10).sum().compute()), sorted(w['name'] for w in client.sync(client.scheduler.identity)['workers'].values()))")
        names = sorted(pod["metadata"]["name"] for pod in self.pods("worker"))
        self.assertEqual(self.kubectl("exec", "deploy/scheduler", "--", "python", "-c", program).strip(), f"499500 {names}")
        service_address = self.api.get(f"/api/v1/namespaces/{self.namespace}/services/scheduler")["spec"]["clusterIP"]
        with OPENER.open(f"http://{service_address}:8787/status", timeout=20) as page:
            self.assertIn("bokeh", page.read().decode().lower())

    def test_failing_readiness_probe(self):
        """A pod whose readiness probe fails is running but not ready, receives no requests, and an event has the reason."""
        self.apply(server("sick", readinessProbe={"httpGet": {"port": 8000, "path": "/missing"}, "periodSeconds": 1}), service("sick"))
        self.eventually(lambda: any(reason == "Unhealthy" and "404" in message for reason, message in self.events()), "there is no event about the failing probe")
        [pod] = self.pods()
        self.assertEqual(pod["status"]["phase"], "Running")
        self.assertFalse(pod["status"]["containerStatuses"][0]["ready"])
        address = self.api.get(f"/api/v1/namespaces/{self.namespace}/services/sick")["spec"]["clusterIP"]
        self.assertEqual(fetch(f"http://{address}/"), 0)

    def test_deletion_cascades(self):
        """Deleting a Deployment deletes its ReplicaSet and its pods."""
        self.apply(server("parent", 2))
        self.rolled_out("parent")
        self.kubectl("delete", "deployment/parent")
        self.eventually(lambda: not self.pods() and not self.api.get(f"/apis/apps/v1/namespaces/{self.namespace}/replicasets")["items"], "children still exist")

    def test_namespace_is_deleted(self):
        """Deleting a namespace deletes its objects and then the namespace."""
        self.apply(server("inside"), service("inside"))
        self.rolled_out("inside")
        kubectl("delete", "namespace", self.namespace, "--timeout=60s")
        with self.assertRaises(ApiError):
            self.api.get(f"/api/v1/namespaces/{self.namespace}")

    def test_logs_exec_port_forward(self):
        """Logs, exec and port-forward work, which need a connection from the API server to the kubelet."""
        self.apply(server("talker"))
        self.rolled_out("talker")
        self.assertEqual(self.kubectl("exec", "-i", "deploy/talker", "--", "cat", given="hello"), "hello")
        pod = self.pods()[0]
        fetch(f"http://{pod['status']['podIP']}:8000/only-in-the-log")
        self.eventually(lambda: "only-in-the-log" in self.kubectl("logs", "deploy/talker"), "the log does not contain the request")
        argv = [MAIN.path("bin/kubectl"), f"--kubeconfig={MAIN.kubeconfig}", "--namespace", self.namespace, "port-forward", "deploy/talker", ":8000"]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as forward:
            try:
                port = int(forward.stdout.readline().split(":")[1].split()[0])
                self.assertEqual(fetch(f"http://127.0.0.1:{port}/"), 200)
            finally:
                forward.kill()

    def test_missing_image(self):
        """A missing image fails immediately, with an event."""
        started = time.monotonic()
        self.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "lost"}, "spec": {"containers": [{"name": "main", "image": "quay.io/no/such:thing"}]}})
        self.eventually(lambda: any(reason == "Failed" and "quay.io/no/such:thing" in message and "not found" in message for reason, message in self.events()),
                        "there is no event about the missing image", 20)
        self.assertLess(time.monotonic() - started, 10)
        self.eventually(lambda: self.pods()[0]["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] in ("ErrImagePull", "ImagePullBackOff"),
                        "the pod's status does not report the missing image")

    def test_registry_mirrors_all_registries(self):
        """An image is found under the name of any registry, and under a short name."""
        folder = MAIN.path("description")
        folder.mkdir()
        (folder / "tiny.toml").write_text(f"""
            name = "tiny:2"
            [files]
            "/bin/tiny" = {{ c = "{HERE / 'images/pause.c'}" }}
            [config]
            Entrypoint = ["/bin/tiny"]
        """)
        digest = cli("image", "build", str(folder / "tiny.toml")).stdout.strip()
        crane = (programs.ensure(["crane"])["crane"], "--insecure")
        subprocess.run([*crane, "pull", "--format=oci", f"{MAIN.registry}/tiny:2", folder / "layout"], check=True, capture_output=True)
        self.assertEqual(cli("image", "push", str(folder / "layout"), "some/where/tiny:3").stdout.strip(), digest)
        subprocess.run([*crane, "push", folder / "layout", f"{MAIN.registry}/by/crane:1"], check=True, capture_output=True)
        self.assertLessEqual({"tiny:2", "library/tiny:2", "some/where/tiny:3", "by/crane:1", "dask/dask:latest"}, set(cli("image", "list").stdout.split()))
        for name, image in (("d", "tiny:2"), ("e", "ghcr.io/some/where/tiny:3"), ("f", f"{MAIN.registry}/by/crane:1"), ("g", f"tiny@{digest}"),
                            ("a", "docker.io/local-kubernetes/pause:1"), ("b", "registry.example.org:5000/local-kubernetes/pause:1"), ("c", "local-kubernetes/pause:1")):
            self.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
                        "spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "main", "image": image, "imagePullPolicy": "Always"}]}})
        self.eventually(lambda: all(pod["status"]["phase"] == "Running" for pod in self.pods()), "an image is not found under one of its names")

    def test_eviction(self):
        """An evicted pod is deleted, and its Deployment creates another."""
        self.apply(server("victim"))
        self.rolled_out("victim")
        name = self.pods()[0]["metadata"]["name"]
        self.api.request("POST", f"/api/v1/namespaces/{self.namespace}/pods/{name}/eviction",
                         {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": self.namespace}})
        self.eventually(lambda: [pod for pod in self.pods() if pod["metadata"]["name"] != name and pod["status"]["phase"] == "Running"], "there is no new pod")
        self.eventually(lambda: name not in [pod["metadata"]["name"] for pod in self.pods()], "the evicted pod still exists")

    def test_node_statistics(self):
        """The kubelet reports real statistics, which its eviction uses; the capacity that the scheduler uses is larger."""
        summary = self.api.get(f"/api/v1/nodes/{MAIN.node_name}/proxy/stats/summary")
        self.assertGreater(summary["node"]["fs"]["capacityBytes"], 0)
        self.assertGreater(summary["node"]["memory"]["availableBytes"], 0)
        self.apply(server("greedy", 8, resources={"requests": {"cpu": "1", "memory": "4Gi"}}))
        self.rolled_out("greedy")

    def test_access_control(self):
        """Requests without a certificate are refused, and a service account has only its own permissions."""
        context = ssl.create_default_context(cafile=str(MAIN.path("pki/ca.crt")))
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
        with self.assertRaises(urllib.error.HTTPError) as refused:
            opener.open(f"{MAIN.server}/api/v1/namespaces", timeout=5)
        self.assertEqual(refused.exception.code, 403)
        refused.exception.close()
        token = self.kubectl("create", "token", "default").strip()
        request = urllib.request.Request(f"{MAIN.server}/api/v1/namespaces", headers={"Authorization": f"Bearer {token}"})
        with self.assertRaises(urllib.error.HTTPError) as refused:
            opener.open(request, timeout=5)
        self.assertEqual(refused.exception.code, 403)
        with refused.exception as answer:
            self.assertIn(f"system:serviceaccount:{self.namespace}:default", answer.read().decode())

    def test_admission_webhook_on_the_host(self):
        """The API server calls a webhook that a program on the host serves."""
        folder = MAIN.path("webhook")
        folder.mkdir(exist_ok=True)
        for name in ("ca.crt", "ca.key"):
            (folder / name).write_bytes(MAIN.path("pki", name).read_bytes())
        pki.issue(folder, "webhook", "webhook", None, "serverAuth", [], [MAIN.host_address])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "webhook.crt", folder / "webhook.key")
        listener = socket.create_server((str(MAIN.host_address), 0))
        self.addCleanup(listener.close)
        threading.Thread(target=refuse_all, args=(listener, context), daemon=True).start()
        ca = subprocess.run(["base64", "--wrap=0", folder / "ca.crt"], capture_output=True, text=True, check=True).stdout
        path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/smoke"
        self.api.apply(path, {
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": {"name": "smoke"},
            "webhooks": [{"name": "smoke.example.org", "admissionReviewVersions": ["v1"], "sideEffects": "None",
                          "clientConfig": {"url": f"https://{MAIN.host_address}:{listener.getsockname()[1]}/", "caBundle": ca},
                          "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.namespace}},
                          "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["secrets"], "operations": ["CREATE"]}]}]})
        self.addCleanup(lambda: self.api.request("DELETE", path))

        def refused():
            secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"generateName": "x-"}}
            try:
                self.api.request("POST", f"/api/v1/namespaces/{self.namespace}/secrets", secret)
            except ApiError as error:
                return "denied by the host" in str(error)
            return False

        self.eventually(refused, "the webhook is not called", 20)

    def test_dead_components_are_reported_and_restarted(self):
        """``up`` on a broken cluster reports the dead components and starts them; pods keep running."""
        self.apply(server("steady"))
        self.rolled_out("steady")
        before = self.pods()[0]["status"]
        for victim in ("kube-scheduler", "containerd", "kubelet"):
            process = Running(MAIN).records.read(victim)
            process.kill()
            self.assertTrue(process.wait(10))
        self.assertEqual(cli("status", check=False).returncode, 1)
        output = cli("up").stderr
        for victim in ("kube-scheduler", "containerd", "kubelet"):
            self.assertIn(f"{victim} is not running", output)
        self.assertEqual(cli("status").returncode, 0)
        after = self.pods()[0]["status"]
        self.assertEqual(before["containerStatuses"][0]["containerID"], after["containerStatuses"][0]["containerID"])
        self.eventually(lambda: self.kubectl("exec", "deploy/steady", "--", "echo", "alive", check=False) == "alive\n", "the new kubelet does not manage the old pod")

    def test_up_again_does_nothing(self):
        """A second ``up`` starts nothing."""
        before = Running(MAIN).records.all()
        self.assertIn("is up already", cli("up").stderr)
        self.assertEqual(before, Running(MAIN).records.all())
        self.assertIn("is up already", cli("up", "--no-node").stderr)

    def test_a_second_cluster(self):
        """A second cluster without a node has its own addresses, objects and fake nodes, and its removal does not affect the first."""
        output = cli("up", "--no-node", cluster=BESIDE).stderr
        self.assertIn("is up", output)
        kubectl("create", "deployment", "pretender", "--image=no/such", "--replicas=20", cluster=BESIDE)
        self.assertNotIn("pretender", kubectl("get", "deployments", "-A"))
        other = Api(BESIDE)
        self.addCleanup(other.close)
        pods = "/api/v1/namespaces/default/pods"
        self.eventually(lambda: len(other.get(pods)["items"]) == 20, "the second cluster has no pods")
        self.assertEqual({pod["status"]["phase"] for pod in other.get(pods)["items"]}, {"Pending"})
        cli("fake-nodes", "3", cluster=BESIDE)
        self.eventually(lambda: {pod["status"]["phase"] for pod in other.get(pods)["items"]} == {"Running"}, "pods are not marked as running")
        cli("fake-nodes", "1", cluster=BESIDE)
        self.assertEqual(len(other.get("/api/v1/nodes")["items"]), 1)
        self.assertNotEqual(cli("up", cluster=Cluster.create("smoke3", cidr=str(BESIDE.range)), check=False).returncode, 0)
        cli("down", cluster=BESIDE)
        self.assertEqual(teardown.leftovers([BESIDE.name]), [])
        self.assertTrue(self.api.ready())

    def test_killed_commands_leave_nothing(self):
        """``down`` removes everything that a killed ``up`` or ``down`` left, and another ``up`` starts the cluster again."""
        argv = [sys.executable, HERE, "up", "--no-node", "--name", BESIDE.name, "--range", str(BESIDE.range)]
        for delay, how in ((0.4, signal.SIGKILL), (0.8, signal.SIGINT), (1.6, signal.SIGKILL), (3.0, signal.SIGTERM)):
            with self.subTest(delay=delay), subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
                time.sleep(delay)
                child.send_signal(how)
                child.wait(30)
                cli("down", cluster=BESIDE)
                self.assertEqual(teardown.leftovers([BESIDE.name]), [])
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
            time.sleep(1.5)
            child.kill()
        self.assertIn("is up", cli("up", "--no-node", cluster=BESIDE).stderr)
        Running(BESIDE).records.read(KEEPER).kill()
        with subprocess.Popen([sys.executable, HERE, "down", "--name", BESIDE.name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
            time.sleep(0.25)
            child.kill()
        cli("down", cluster=BESIDE)
        self.assertEqual(teardown.leftovers([BESIDE.name]), [])
