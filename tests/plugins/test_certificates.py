"""Registry whose certificate is not trusted."""

from support.registry import ADDRESS


def test_a_registry_with_an_untrusted_authority_is_refused(kubectl, start, plugins, registry, built):
    registry.push("team/policy", "1", built["scripted"])
    kubectl.apply(registry.secret("login"))
    start("--allow-tenant-plugin-source", "*", namespace=kubectl.namespace, ca=registry.other_ca)
    plugins.apply("p", {"oci": {"image": f"{ADDRESS}/team/policy:1", "pullSecrets": [{"name": "login"}]}})
    condition = plugins.ready("p", "False")
    assert condition["reason"] == "CertificateNotTrusted" and "--plugin-ca-file" in condition["message"]
