"""Sources of components, and the conditions for components that cannot be loaded."""

import base64
import json

import pytest
from support.registry import ADDRESS
from support.waiting import until

from plugins.conftest import digest, variant


def test_a_plugin_is_loaded_from_a_registry_with_a_pull_secret(kubectl, operator, plugins, registry, built):
    image_digest = registry.push("tenants/policy", "1", built["scripted"])
    kubectl.apply(registry.secret("login"))
    plugins.apply("p", {"oci": {"image": f"{ADDRESS}/tenants/policy:1", "pullSecrets": [{"name": "login"}]}},
                  digest=digest(built["scripted"]))
    assert "is in force" in plugins.ready("p")["message"]
    _, status = plugins.status("p")
    assert status["digest"] == digest(built["scripted"]) and status["imageDigest"] == image_digest
    assert status["name"] == "scripted" and status["interfaces"] == ["policy"]
    kubectl.event("p", "InForce")
    # The columns of `kubectl get`.
    columns = kubectl("get", "dpl", "p", "--no-headers").split()
    assert columns[1:6] == [status["version"], status["shortDigest"], "policy", "protect", "True"], columns


def test_a_cluster_plugin_names_a_pull_secret_with_its_namespace(kubectl, operator, plugins, registry, built):
    manifest = registry.push("team/policy", "1", built["scripted"], layer="application/vnd.wasm.content.layer.v1+wasm")
    kubectl.apply(registry.secret("login"))
    secrets = [{"name": "login", "namespace": kubectl.namespace}]
    # No resource matches the selector, so that the plugin does not affect other tests.
    name = plugins.apply("p", {"oci": {"image": f"{ADDRESS}/team/policy@{manifest}", "pullSecrets": secrets}},
                         cluster=True, selector={"matchLabels": {"nobody": "has-this"}})
    plugins.ready(name)


def test_a_plugin_is_loaded_from_a_config_map(kubectl, operator, plugins, built):
    encoded = base64.b64encode(built["scripted"]).decode()
    kubectl("create", "--filename", "-", stdin=json.dumps({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "code"}, "binaryData": {"p.wasm": encoded}}))
    plugins.apply("p", {"configMap": {"name": "code", "key": "p.wasm"}})
    plugins.ready("p")
    plugins.apply("p", {"configMap": {"name": "code", "key": "other"}})
    condition = plugins.ready("p", "False")
    assert condition["reason"] == "ConfigMapUnusable" and "below binaryData" in condition["message"]
    # The previous component is still active.
    assert "is still in force" in condition["message"]


def replace_volume(mount, number, component):
    """Replaces the component in a folder as the kubelet updates a mounted ConfigMap: the whole content changes atomically."""
    version = mount / f"..version-{number}"
    version.mkdir(parents=True)
    (version / "p.wasm").write_bytes(component)
    temporary_link = mount / "..data.part"
    temporary_link.symlink_to(version.name)
    temporary_link.replace(mount / "..data")
    if not (mount / "p.wasm").is_symlink():
        (mount / "p.wasm").symlink_to("..data/p.wasm")


def test_changes_of_a_mounted_volume_are_loaded(kubectl, operator, plugins, built, folder):
    one, two = (variant(built["scripted"], number) for number in (11, 12))
    mount = folder / kubectl.namespace
    replace_volume(mount, 1, one)
    plugins.apply("p", {"file": {"path": str(mount / "p.wasm")}})
    plugins.ready("p")
    assert plugins.status("p")[1]["digest"] == digest(one)
    replace_volume(mount, 2, two)
    until(lambda: plugins.status("p")[1]["digest"] == digest(two), "the new version")
    assert plugins.ready("p")["reason"] == "InForce"
    # An invalid version does not replace the active one. A later valid version does.
    replace_volume(mount, 3, b"no component")
    assert "is still in force" in plugins.ready("p", "False")["message"]
    replace_volume(mount, 4, one)
    until(lambda: plugins.status("p")[1]["digest"] == digest(one), "the first version")


def test_changes_of_a_config_map_are_loaded(kubectl, operator, plugins, built):
    one, two = (variant(built["scripted"], number) for number in (13, 14))

    def config_map(component):
        encoded = base64.b64encode(component).decode()
        return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "code"}, "binaryData": {"p.wasm": encoded}})

    kubectl("create", "--filename", "-", stdin=config_map(one))
    plugins.apply("p", {"configMap": {"name": "code", "key": "p.wasm"}})
    plugins.ready("p")
    kubectl("replace", "--filename", "-", stdin=config_map(two))
    until(lambda: plugins.status("p")[1]["digest"] == digest(two), "the new version")


@pytest.mark.parametrize("image, password, reason, phrase", [
    (f"{ADDRESS}/tenants/refused:1", "wrong", "NotAuthorised", "check name, password and rights"),
    (f"{ADDRESS}/tenants/refused:1", None, "NotAuthorised", "pullSecrets"),
    (f"{ADDRESS}/tenants/refused:2", "open sesame", "ImageNotFound", "does not exist"),
    (f"{ADDRESS}/tenants/tar:1", "open sesame", "NotAComponent", "a single layer of the type application/wasm"),
    (f"{ADDRESS}/team/policy:1", "open sesame", "SourceNotAllowed", "allowed are configmap, file"),
    ("127.0.0.1:1/tenants/policy:1", "open sesame", "SourceNotAllowed", ""),
    ("No Image!", "open sesame", "InvalidReference", "names no image"),
])
def test_an_unavailable_image_is_reported(kubectl, operator, plugins, registry, built, image, password, reason, phrase):
    registry.push("tenants/refused", "1", built["scripted"])
    registry.push("tenants/tar", "1", built["scripted"], layer="application/vnd.oci.image.layer.v1.tar+gzip")
    source = {"image": image}
    if password:
        kubectl.apply(registry.secret("login", password))
        source["pullSecrets"] = [{"name": "login"}]
    plugins.apply("p", {"oci": source})
    condition = plugins.ready("p", "False")
    assert condition["reason"] == reason and phrase in condition["message"], condition
    assert "has not been in force yet" in condition["message"]
    kubectl.event("p", reason)


def test_files_outside_the_folder_and_other_digests_are_refused(kubectl, operator, plugins, built, tmp_path):
    elsewhere = tmp_path / "p.wasm"
    elsewhere.write_bytes(built["scripted"])
    plugins.apply("outside", {"file": {"path": str(elsewhere)}})
    assert plugins.ready("outside", "False")["reason"] == "FileOutsideFolder"
    plugins.apply("mismatch", plugins.file("p", built["scripted"]), digest=digest(variant(built["scripted"], 1)))
    condition = plugins.ready("mismatch", "False")
    assert condition["reason"] == "DigestMismatch" and digest(built["scripted"]) in condition["message"]


def test_invalid_settings_and_missing_interfaces_are_reported(kubectl, operator, plugins, built):
    source = plugins.file("p", built["scripted"])
    plugins.apply("p", source, settings={"word": "two words"})
    condition = plugins.ready("p", "False")
    assert condition["reason"] == "SettingsRefused" and "word: it has a space" in condition["message"]
    plugins.apply("p", source, settings={"wording": "x"})
    condition = plugins.ready("p", "False")
    assert condition["reason"] == "SettingsRefused" and "wording" in condition["message"]
    plugins.apply("p", source, interfaces=["cluster"])
    condition = plugins.ready("p", "False")
    assert condition["reason"] == "InterfaceMissing" and "it has policy" in condition["message"]
    plugins.apply("p", source, limits={"memory": "64Mi", "milliseconds": 500}, settings={"word": "x"})
    plugins.ready("p")


@pytest.mark.parametrize("kind, spec, phrase", [
    ("DaskPlugin", {"source": {}}, "exactly one of oci, file and configMap"),
    ("DaskPlugin", {"source": {"file": {"path": "/x"}, "oci": {"image": "x"}}}, "exactly one of oci, file and configMap"),
    ("DaskPlugin", {"source": {"oci": {"image": "x", "insecure": True}}}, "insecure needs spec.digest"),
    ("DaskPlugin", {"source": {"configMap": {"name": "x", "key": "x", "namespace": "other"}}}, "its own namespace"),
    ("ClusterDaskPlugin", {"source": {"configMap": {"name": "x", "key": "x"}}}, "say with namespace"),
    ("DaskPlugin", {"source": {"file": {"path": "/x"}}, "digest": "abc"}, "spec.digest"),
    ("DaskPlugin", {"source": {"file": {"path": "/x"}}, "mode": "observe"}, "spec.mode"),
])
def test_the_api_server_refuses_an_invalid_plugin(kubectl, kind, spec, phrase):
    manifest = {"apiVersion": "kubernetes.dask.org/v1", "kind": kind, "metadata": {"name": "refused"}, "spec": spec}
    with pytest.raises(Exception, match=phrase):
        kubectl.apply(manifest)
