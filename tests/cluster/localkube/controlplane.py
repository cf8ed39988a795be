"""The components of the control plane: etcd, API server, controller manager, scheduler."""

from .components import Component, answers
from .kube import Api
from .settings import API_PORT


def etcd(cluster, program):
    """Return etcd. With ``--unsafe-no-fsync`` a write is ten times as fast; no data has to survive a crash of the machine."""
    return Component("etcd", [
        program,
        f"--data-dir={cluster.path('etcd')}",
        "--listen-client-urls=http://127.0.0.1:2379",
        "--advertise-client-urls=http://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",
        f"--listen-metrics-urls=http://{cluster.node_address}:2381",
        "--unsafe-no-fsync",
        "--quota-backend-bytes=8589934592",
        "--log-level=warn",
    ], answers(f"http://{cluster.node_address}:2381/health"))


def api_server(cluster, program):
    """Return the API server, with authorization and admission as in production (webhook admission is on by default)."""
    pki = cluster.path("pki")
    api = []

    def ready():
        if not api:
            api.append(Api(cluster, timeout=2))
        return api[0].ready()

    return Component("kube-apiserver", [
        program,
        "--etcd-servers=http://127.0.0.1:2379",
        "--bind-address=0.0.0.0",
        f"--advertise-address={cluster.node_address}",
        f"--secure-port={API_PORT}",
        f"--tls-cert-file={pki / 'apiserver.crt'}",
        f"--tls-private-key-file={pki / 'apiserver.key'}",
        f"--client-ca-file={pki / 'ca.crt'}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={pki / 'service-account.pub'}",
        f"--service-account-signing-key-file={pki / 'service-account.key'}",
        f"--service-cluster-ip-range={cluster.services}",
        "--allow-privileged=true",
        f"--kubelet-client-certificate={pki / 'apiserver-kubelet-client.crt'}",
        f"--kubelet-client-key={pki / 'apiserver-kubelet-client.key'}",
        f"--kubelet-certificate-authority={pki / 'ca.crt'}",
        "--kubelet-preferred-address-types=InternalIP",
    ], ready, timeout=120)


def _controller_flags(cluster, name):
    """Return the flags of a component that is a client of the API server, and the only one of its kind."""
    kubeconfig = cluster.path("pki", f"{name}.kubeconfig")
    return [
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--bind-address=0.0.0.0",
        "--leader-elect=false",
    ]


def _rates(cluster, qps, burst):
    """Return the flags of request rates. They are higher than the defaults, unless the cluster has ``default_rates``."""
    return [] if cluster.default_rates else [f"--kube-api-qps={qps}", f"--kube-api-burst={burst}"]


def controller_manager(cluster, program):
    """Return the controller manager, with a higher request rate: at the default 20/s, deleting a thousand pods takes a minute."""
    pki = cluster.path("pki")
    return Component("kube-controller-manager", [
        program,
        *_controller_flags(cluster, "kube-controller-manager"),
        "--use-service-account-credentials=true",
        f"--service-account-private-key-file={pki / 'service-account.key'}",
        f"--root-ca-file={pki / 'ca.crt'}",
        f"--cluster-signing-cert-file={pki / 'ca.crt'}",
        f"--cluster-signing-key-file={pki / 'ca.key'}",
        *_rates(cluster, 200, 400),
    ], answers(f"https://{cluster.node_address}:10257/healthz"))


def scheduler(cluster, program):
    """Return the scheduler, with a higher request rate than the default 50/s."""
    return Component("kube-scheduler", [
        program,
        *_controller_flags(cluster, "kube-scheduler"),
        *_rates(cluster, 500, 1000),
    ], answers(f"https://{cluster.node_address}:10259/healthz"))
