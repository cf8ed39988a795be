"""Keys and certificates of one cluster, created at every start with the ``openssl`` program.

Every component has its own identity, as in a real installation, so that RBAC applies.
"""

import base64

from . import machine
from .console import Failure

#: Common name and organization by component, as used by Kubernetes' built-in RBAC bindings.
IDENTITIES = {
    "admin": ("admin", "system:masters"),
    "kube-controller-manager": ("system:kube-controller-manager", None),
    "kube-scheduler": ("system:kube-scheduler", None),
    "kube-proxy": ("system:kube-proxy", None),
    "coredns": ("system:coredns", None),
    "kwok": ("kwok", "system:masters"),
    # Without a client certificate that the kubelet trusts there are no logs, exec and port-forward.
    "apiserver-kubelet-client": ("kube-apiserver-kubelet-client", "system:masters"),
}


def create(cluster):
    """Create all keys, certificates and kubeconfigs in the cluster's ``pki`` folder, and the administrator's kubeconfig."""
    folder = cluster.path("pki")
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    _openssl(["req", "-x509", *_new_key(folder / "ca.key"), "-out", folder / "ca.crt", "-subj", f"/CN={cluster.name}-ca", "-days", "365",
              "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature"])
    _openssl(["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", folder / "service-account.key"])
    _openssl(["ec", "-in", folder / "service-account.key", "-pubout", "-out", folder / "service-account.pub"])
    names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"]
    issue(folder, "apiserver", "kube-apiserver", None, "serverAuth", names, ["127.0.0.1", cluster.node_address, cluster.kubernetes_service])
    issue(folder, "kubelet-server", f"system:node:{cluster.node_name}", "system:nodes", "serverAuth", [cluster.node_name], [cluster.node_address])
    for component, (common_name, organization) in {**IDENTITIES, "kubelet": (f"system:node:{cluster.node_name}", "system:nodes")}.items():
        issue(folder, component, common_name, organization, "clientAuth")
        _kubeconfig(cluster, component)
    cluster.kubeconfig.write_text(kubeconfig(cluster, "admin"))
    cluster.kubeconfig.chmod(0o600)


def _openssl(arguments):
    machine.run(["openssl", *arguments])


def _new_key(path):
    # An elliptic curve key takes a millisecond, an RSA key a tenth of a second.
    return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", path]


def issue(folder, name, common_name, organization, usage, dns=(), addresses=()):
    """Create a key and a certificate ``name``, signed by the authority in ``folder``. ``usage`` is serverAuth or clientAuth."""
    subject = (f"/O={organization}" if organization else "") + f"/CN={common_name}"
    extensions = ["basicConstraints=critical,CA:FALSE", "keyUsage=critical,digitalSignature", f"extendedKeyUsage={usage}"]
    alternatives = [f"DNS:{name}" for name in dns] + [f"IP:{address}" for address in addresses]
    if alternatives:
        extensions.append(f"subjectAltName={','.join(alternatives)}")
    arguments = ["req", "-x509", *_new_key(folder / f"{name}.key"), "-out", folder / f"{name}.crt", "-subj", subject, "-days", "365",
                 "-CA", folder / "ca.crt", "-CAkey", folder / "ca.key"]
    for extension in extensions:
        arguments += ["-addext", extension]
    _openssl(arguments)


def kubeconfig(cluster, identity):
    """Return a kubeconfig with embedded certificates, so that the file can be copied anywhere on this machine."""
    def data(name):
        return base64.b64encode(cluster.path("pki", name).read_bytes()).decode()

    return f"""apiVersion: v1
kind: Config
clusters:
- name: {cluster.name}
  cluster: {{server: "{cluster.server}", certificate-authority-data: {data("ca.crt")}}}
users:
- name: {identity}
  user: {{client-certificate-data: {data(f"{identity}.crt")}, client-key-data: {data(f"{identity}.key")}}}
contexts:
- name: {cluster.name}
  context: {{cluster: {cluster.name}, user: {identity}, namespace: default}}
current-context: {cluster.name}
"""


def _kubeconfig(cluster, identity):
    path = cluster.path("pki", f"{identity}.kubeconfig")
    path.write_text(kubeconfig(cluster, identity))
    path.chmod(0o600)


def require_openssl():
    """Raise :class:`Failure` unless OpenSSL 3 is installed, which signs a certificate in one step. Debian 12 has it."""
    version = machine.run(["openssl", "version"]).stdout
    if not version.startswith("OpenSSL 3"):
        raise Failure(f"OpenSSL 3 is needed to create certificates, found {version.strip()}")
