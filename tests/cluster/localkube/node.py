"""The real node: container runtime, kubelet, kube-proxy, DNS."""

import json
import os

from . import images, machine, registry
from .components import Component, accepts, answers
from .kube import ApiError

#: Debian package of each required program. Newer runc and every crun refuse machines with version 1 control groups and few
#: privileges.
PROGRAMS = {"runc": "runc", "nft": "nftables"}
#: Images in the registry of every cluster with a node.
IMAGES = ("pause", "dask")
#: Capacity that the node advertises, see :func:`inflate_capacity`.
ADVERTISED = {"cpu": "100", "memory": "400Gi"}
DOMAIN = "cluster.local"
NAME_SERVICE_READY_PORT = 10053
KUBELET_HEALTH_PORT = 10248


def prepare():
    """Install packages and build images, before any component runs. Returns the image descriptors by name."""
    machine.need(PROGRAMS)
    cache = images.Cache()
    found = [images.read(name) for name in IMAGES]
    return {name: descriptor for image in found for descriptor in [cache.build(image)] for name in image.names}


def early_components(cluster, programs, stored):
    """Return the components that do not need the API server: the container runtime, and the registry with its images."""
    registry_component = registry.component(cluster, programs["docker-registry"])
    for name, descriptor in stored.items():
        registry.store(cluster, images.Cache().blobs, descriptor, name)
    return [_containerd(cluster, programs), registry_component]


def late_components(cluster, programs):
    """Return the components that need the API server."""
    return [_kubelet(cluster, programs), _kube_proxy(cluster, programs), _coredns(cluster, programs)]


def socket_path(cluster):
    """Return the path of the container runtime's socket."""
    return cluster.path("run", "containerd.sock")


def _containerd(cluster, programs):
    hosts = cluster.path("mirrors", "_default")
    hosts.mkdir(parents=True, exist_ok=True)
    # `server` is required: otherwise containerd looks for an image that the mirror lacks at the registry in its name.
    hosts.joinpath("hosts.toml").write_text(
        f'server = "http://{cluster.registry}"\n\n[host."http://{cluster.registry}"]\n  capabilities = ["pull", "resolve"]\n')
    networks = cluster.path("cni")
    networks.mkdir(exist_ok=True)
    networks.joinpath("10-pods.conflist").write_text(json.dumps(_pod_network(cluster), indent=2))
    configuration = cluster.path("containerd.toml")
    configuration.write_text(f"""version = 3
root = "{cluster.path('containerd')}"
state = "/run/containerd"
# Plugins that probe for file systems or create folders that would remain on the host.
disabled_plugins = [
  "io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt", "io.containerd.image-verifier.v1.bindir",
  "io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.erofs", "io.containerd.snapshotter.v1.zfs",
]

[grpc]
  address = "{socket_path(cluster)}"

[plugins.'io.containerd.cri.v1.images']
  snapshotter = "overlayfs"
  max_concurrent_downloads = 10
  # Layer archives are not needed after unpacking: the registry on the same machine still has them.
  discard_unpacked_layers = true

  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = "local-kubernetes/pause:1"

  [plugins.'io.containerd.cri.v1.images'.registry]
    config_path = "{cluster.path('mirrors')}"

[plugins.'io.containerd.cri.v1.runtime']
  # Root without CAP_SYS_RESOURCE (in a container or a small virtual machine) may not lower a process's OOM score.
  restrict_oom_score_adj = true

  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["{programs['bridge'].parent}"]
    conf_dir = "{networks}"

  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"

    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      SystemdCgroup = false
""")
    search = f"{programs['containerd'].parent}:{os.environ['PATH']}"  # containerd looks for its shim in the PATH
    return Component("containerd", [programs["containerd"], "--config", configuration], accepts(socket_path(cluster)), env={"PATH": search})


def _pod_network(cluster):
    """Return the CNI configuration: a bridge without address translation, because the host has a route to the pods."""
    return {
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {"type": "bridge", "bridge": "pods", "isGateway": True, "hairpinMode": True, "ipMasq": False,
             "ipam": {"type": "host-local", "ranges": [[{"subnet": str(cluster.pods)}]], "routes": [{"dst": "0.0.0.0/0"}]}},
            {"type": "portmap", "capabilities": {"portMappings": True}, "backend": "nftables"},
        ],
    }


def _kubelet(cluster, programs):
    pki = cluster.path("pki")
    configuration = cluster.path("kubelet.json")
    configuration.write_text(json.dumps({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": f"unix://{socket_path(cluster)}",
        "clusterDNS": [str(cluster.node_address)],
        "clusterDomain": DOMAIN,
        "resolvConf": "",
        "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True}, "x509": {"clientCAFile": str(pki / "ca.crt")}},
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(pki / "kubelet-server.crt"),
        "tlsPrivateKeyFile": str(pki / "kubelet-server.key"),
        "healthzBindAddress": str(cluster.node_address),
        "healthzPort": KUBELET_HEALTH_PORT,
        # For control groups of either version, below the cluster's own group, without systemd.
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cluster.cgroup}",
        "enforceNodeAllocatable": [],
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "makeIPTablesUtilChains": False,
        "podLogsDir": "/var/log/pods",
        "volumePluginDir": str(cluster.path("volume-plugins")),
        # For many small pods that start simultaneously. One hanging pull must not block the others.
        "maxPods": 500,
        "serializeImagePulls": False,
        "registryPullQPS": 0,
        "eventRecordQPS": 0,
        "kubeAPIQPS": 200,
        "kubeAPIBurst": 400,
        # A disk that is nearly full of other data must not cause evictions or the removal of images.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "nodefs.inodesFree": "1%", "imagefs.available": "1%"},
    }, indent=2))
    return Component("kubelet", [
        programs["kubelet"],
        f"--config={configuration}",
        f"--kubeconfig={pki / 'kubelet.kubeconfig'}",
        f"--hostname-override={cluster.node_name}",
        f"--node-ip={cluster.node_address}",
        f"--root-dir={cluster.path('kubelet')}",
        f"--cert-dir={cluster.path('kubelet', 'pki')}",
    ], answers(f"http://{cluster.node_address}:{KUBELET_HEALTH_PORT}/healthz"))


def _kube_proxy(cluster, programs):
    return Component("kube-proxy", [
        programs["kube-proxy"],
        f"--kubeconfig={cluster.path('pki', 'kube-proxy.kubeconfig')}",
        f"--hostname-override={cluster.node_name}",
        "--proxy-mode=nftables",
        f"--cluster-cidr={cluster.pods}",
        f"--bind-address={cluster.node_address}",
        f"--healthz-bind-address={cluster.node_address}:10256",
        # Zero leaves the connection tracking parameters alone, which belong to the whole machine.
        "--conntrack-max-per-core=0",
        "--conntrack-min=0",
        "--conntrack-tcp-timeout-established=0",
        "--conntrack-tcp-timeout-close-wait=0",
    ], answers(f"http://{cluster.node_address}:10256/healthz"))


def _coredns(cluster, programs):
    """Return CoreDNS, without a cache: it serves Services and pods from memory. Any other name immediately gets NXDOMAIN."""
    configuration = cluster.path("Corefile")
    configuration.write_text(f"""{DOMAIN}:53 in-addr.arpa:53 ip6.arpa:53 {{
    bind {cluster.node_address}
    errors
    ready {cluster.node_address}:{NAME_SERVICE_READY_PORT}
    kubernetes {DOMAIN} in-addr.arpa ip6.arpa {{
        kubeconfig {cluster.path('pki', 'coredns.kubeconfig')}
        ttl 1
    }}
}}

.:53 {{
    bind {cluster.node_address}
    template ANY ANY . {{
        rcode NXDOMAIN
    }}
}}
""")
    return Component("coredns", [programs["coredns"], "-conf", configuration], answers(f"http://{cluster.node_address}:{NAME_SERVICE_READY_PORT}/ready"))


def grant(api):
    """Grant CoreDNS read access. The roles of the other components are built into the API server."""
    role = "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:coredns"
    rules = [{"apiGroups": [""], "resources": ["endpoints", "services", "pods", "namespaces"], "verbs": ["list", "watch"]},
             {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]}]
    api.apply(role, {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "system:coredns"}, "rules": rules})
    api.apply(role.replace("clusterroles", "clusterrolebindings"), {
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "system:coredns"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:coredns"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "system:coredns"}]})


def inflate_capacity(cluster, api):
    """Make the node advertise :data:`ADVERTISED`, so that fifty pods that each request a processor fit on a machine with two.

    The kubelet reports the machine's real capacity; an admission policy replaces it in the API server. The kubelet still evicts
    pods by the real memory. Before Kubernetes 1.36 the API server has no such policies, and the node advertises the real capacity.
    """
    name = "local-kubernetes-room"
    group = "/apis/admissionregistration.k8s.io/v1"
    capacity = ", ".join(f'"{resource}": "{amount}"' for resource, amount in ADVERTISED.items())
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy", "metadata": {"name": name},
        "spec": {
            "reinvocationPolicy": "Never", "failurePolicy": "Ignore",
            "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["nodes", "nodes/status"]}]},
            "matchConditions": [{"name": "report", "expression": f"object.metadata.name == '{cluster.node_name}' && has(object.status.allocatable)"}],
            "mutations": [{"patchType": "ApplyConfiguration",
                           "applyConfiguration": {"expression": f"Object{{status: Object.status{{allocatable: {{{capacity}}}, capacity: {{{capacity}}}}}}}"}}]}}
    binding = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding", "metadata": {"name": name}, "spec": {"policyName": name}}
    try:
        api.apply(f"{group}/mutatingadmissionpolicies/{name}", policy)
        api.apply(f"{group}/mutatingadmissionpolicybindings/{name}", binding)
    except ApiError as error:
        if error.code != 404:
            raise


def ready(api, cluster):
    """Return whether the cluster's node is ready."""
    return is_ready(api.get(f"/api/v1/nodes/{cluster.node_name}"))


def is_ready(item):
    """Return whether a Node object has the condition ``Ready`` with status True."""
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in item.get("status", {}).get("conditions", []))
