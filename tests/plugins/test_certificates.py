"""A registry whose certificate is not trusted."""

from plugins.registry import ADDRESS


def test_the_authority_is_not_trusted(kubectl, start, plugins, registry, built):
    registry.push("team/policy", "1", built["scripted"])
    kubectl.apply(registry.secret("login"))
    start("--namespace", kubectl.namespace, "--allow-tenant-plugin-source", "*", ca=registry.other_ca)
    plugins.apply("p", {"oci": {"image": f"{ADDRESS}/team/policy:1", "pullSecrets": [{"name": "login"}]}})
    condition = plugins.ready("p", "False")
    assert condition["reason"] == "CertificateNotTrusted" and "--plugin-ca-file" in condition["message"]
