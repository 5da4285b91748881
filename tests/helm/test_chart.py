"""What the chart renders: as it was meant to, valid, safe, and of values alone."""

import json
import os
import re
import subprocess
import tomllib

import kubernetes_validate
import pytest
import yaml

from conftest import CHART, ROOT, SETS, helm, objects, parsed, rendered, template

GOLDEN = ROOT / "tests/helm/golden"
CUSTOM = ("cert-manager.io/v1", "gateway.networking.k8s.io/v1", "monitoring.coreos.com/v1")
KUBERNETES = ("1.27", "1.30", "1.33", "1.37")

# Rules of checkov that are not followed: the rule, the kinds it is not followed in, and why.
EXCEPTIONS = {
    ("CKV_K8S_11", "Deployment"): "a limit of processor time slows validation while there is time to be had",
    ("CKV_K8S_11", "Job"): "as the Deployment",
    ("CKV_K8S_11", "Pod"): "as the Deployment",
    ("CKV_K8S_15", "Deployment"): "a version's image never changes, so it need not be pulled at each start",
    ("CKV_K8S_15", "Job"): "as the Deployment",
    ("CKV_K8S_15", "Pod"): "as the Deployment",
    ("CKV_K8S_43", "Deployment"): "image.digest is there for it; the chart cannot know the digest of your image",
    ("CKV_K8S_43", "Job"): "as the Deployment",
    ("CKV_K8S_43", "Pod"): "as the Deployment",
    ("CKV_K8S_8", "Pod"): "the pod of `helm test` asks once and ends",
    ("CKV_K8S_9", "Pod"): "the pod of `helm test` asks once and ends",
    ("CKV2_K8S_6", "Pod"): "the pod of `helm test` lives for a second, and listens to nothing",
}


def test_there_are_seven_value_sets():
    assert len(SETS) == 7


def test_it_lints(values):
    done = helm("lint", "--strict", CHART, "--values", SETS[values])
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_renders_what_it_did(values):
    path = GOLDEN / f"{values}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(rendered(values))
    assert rendered(values) == path.read_text(), "if it was meant: UPDATE_GOLDEN=1 make helm"


def test_it_renders_the_same_twice(values):
    assert template("--values", SETS[values]) == rendered(values)


def test_it_renders_the_same_whatever_the_cluster_knows(values):
    for cluster in (["--kube-version", "1.27.0"], ["--kube-version", "1.40.3"], ["--api-versions", "monitoring.coreos.com/v1"], ["--is-upgrade"]):
        assert template("--values", SETS[values], *cluster) == rendered(values)


def test_templates_look_nothing_up_and_draw_no_lots():
    for path in (CHART / "templates").rglob("*"):
        if path.is_file():
            assert not re.search(r"\.Capabilities|\blookup\b|\brand[A-Z]\w+|\bgen[A-Z]\w+|\buuidv4\b|\bnow\b\s*(\||}})", path.read_text()), path


@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_would_take_it(values, version):
    for document in objects(values):
        if document["apiVersion"] not in CUSTOM:
            kubernetes_validate.validate(document, version, strict=True)


def test_the_definitions_of_custom_resources_would_take_it(values):
    custom = [document for document in objects(values) if document["apiVersion"] in CUSTOM]
    assert crd_faults(custom) == ""


def test_a_fault_in_a_custom_resource_is_found():
    for name, kind in [("gateway", "HTTPRoute"), ("gateway", "GRPCRoute"), ("gateway-tls", "BackendTLSPolicy"), ("mutual-tls", "Certificate"), ("mutual-tls", "ServiceMonitor"), ("mutual-tls", "PrometheusRule")]:
        (document,) = objects(name, kind)
        key = {"PrometheusRule": "groups", "Certificate": "dnsNames", "ServiceMonitor": "endpoints", "BackendTLSPolicy": "targetRefs"}.get(kind, "rules")
        assert kind in crd_faults([document | {"spec": document["spec"] | {key: "none"}}])


def crd_faults(documents: list[dict]) -> str:
    done = subprocess.run(
        ["node", ROOT / "tests/helm/crds.mjs"], input=json.dumps(documents), capture_output=True, text=True, check=True
    )
    return done.stdout


def test_checkov_finds_nothing_but_the_exceptions(tmp_path):
    for name in SETS:
        (tmp_path / f"{name}.yaml").write_text(rendered(name))
    done = subprocess.run(
        ["checkov", "-d", tmp_path, "--framework", "kubernetes", "--output", "json", "--skip-download"], capture_output=True, text=True
    )
    results = json.loads(done.stdout)["results"]
    assert len(results["passed_checks"]) > 1000
    found = {(fault["check_id"], fault["resource"].split(".")[0]): fault["check_name"] for fault in results["failed_checks"]}
    assert {key: name for key, name in found.items() if key not in EXCEPTIONS} == {}
    assert set(EXCEPTIONS) == set(found), "an exception that is not needed any more"


def test_the_versions_agree():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    cargo = tomllib.loads((ROOT / "Cargo.toml").read_text())
    assert chart["appVersion"] == cargo["package"]["version"]


def test_every_pod_keeps_the_restricted_standard(values):
    specs = [document["spec"]["template"]["spec"] for kind in ("Deployment", "Job") for document in objects(values, kind)]
    specs += [document["spec"] for document in objects(values, "Pod")]
    for spec in specs:
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
            }


def test_no_secret_is_in_the_environment(values):
    for kind in ("Deployment", "Job"):
        for document in objects(values, kind):
            for container in document["spec"]["template"]["spec"]["containers"]:
                assert "env" not in container and "envFrom" not in container


def test_a_hook_needs_nothing_that_comes_after_it(values):
    """Before an installation only hooks of a lower weight are there, and what the operator made."""
    ours = {(document["kind"], document["metadata"]["name"]): document for document in objects(values)}
    for job in objects(values, "Job"):
        spec = job["spec"]["template"]["spec"]
        needs = [("ServiceAccount", spec["serviceAccountName"])]
        for volume in spec["volumes"]:
            if "configMap" in volume:
                needs.append(("ConfigMap", volume["configMap"]["name"]))
            for source in volume.get("projected", {}).get("sources", []):
                needs.append(("Secret", source["secret"]["name"]))
        for need in needs:
            if need[0] == "Secret":
                assert need not in ours
                continue
            annotations = ours[need]["metadata"]["annotations"]
            assert annotations["helm.sh/hook"] == job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
            assert int(annotations["helm.sh/hook-weight"]) < int(job["metadata"]["annotations"]["helm.sh/hook-weight"])


def test_what_is_selected_is_there(values):
    """Each Service, budget and policy meets the labels of a pod; each target port has its name in the container."""
    pods = [document["spec"]["template"] for kind in ("Deployment", "Job") for document in objects(values, kind)]

    def meets(selector: dict) -> list[dict]:
        return [pod for pod in pods if selector.items() <= pod["metadata"]["labels"].items()]

    for service in objects(values, "Service"):
        (pod,) = meets(service["spec"]["selector"])
        names = {port["name"] for port in pod["spec"]["containers"][0]["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= names
    for kind in ("PodDisruptionBudget", "Deployment"):
        for document in objects(values, kind):
            assert len(meets(document["spec"]["selector"]["matchLabels"])) == 1
    for policy in objects(values, "NetworkPolicy"):
        assert len(meets(policy["spec"]["podSelector"]["matchLabels"])) == 1
    for monitor in objects(values, "ServiceMonitor"):
        labels = monitor["spec"]["selector"]["matchLabels"].items()
        (service,) = [service for service in objects(values, "Service") if labels <= service["metadata"]["labels"].items()]
        assert service["metadata"]["name"].endswith("-metrics")


def test_a_change_of_the_configuration_replaces_the_pods():
    def checksum(*arguments):
        documents = yaml.safe_load_all(template(*arguments))
        (deployment,) = [document for document in documents if document["kind"] == "Deployment"]
        return deployment["spec"]["template"]["metadata"]["annotations"]["checksum/config"]

    assert checksum() != checksum("--set", "config.tokens.audience=other")
    assert checksum() == checksum("--set", "service.port=80", "--set", "config.server.public_url=http://auth-countersign.identity.svc:50051")


def test_sqlite_is_replaced_and_postgres_rolled():
    assert objects("sqlite", "Deployment")[0]["spec"]["strategy"] == {"type": "Recreate"}
    assert objects("postgres", "Deployment")[0]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert [claim["metadata"]["annotations"]["helm.sh/resource-policy"] for claim in objects("sqlite", "PersistentVolumeClaim")] == ["keep"]
    assert not objects("postgres", "PersistentVolumeClaim") and not objects("sqlite", "PodDisruptionBudget")
    assert "migrate_on_start" not in rendered("sqlite") and not objects("sqlite", "Job")


def test_the_internal_port_is_reached_by_those_that_are_named_alone():
    (policy,) = [policy for policy in objects("mutual-tls", "NetworkPolicy") if not policy["metadata"]["name"].endswith("-migrate")]
    rules = {rule["ports"][0]["port"]: rule.get("from") for rule in policy["spec"]["ingress"]}
    assert rules[50051] is None
    assert [peer["podSelector"] for peer in rules[50052]] == [{"matchLabels": {"asks-countersign": "true"}}]
    services = {service["metadata"]["name"]: [port["targetPort"] for port in service["spec"]["ports"]] for service in objects("mutual-tls", "Service")}
    assert services == {
        "auth-countersign": ["grpc"],
        "auth-countersign-internal": ["grpc-internal"],
        "auth-countersign-internal-headless": ["grpc-internal"],
        "auth-countersign-metrics": ["metrics"],
    }


def test_a_service_without_an_address_is_one_of_its_own():
    """The address of a Service that is there cannot be taken away."""
    services = {service["metadata"]["name"]: service["spec"] for service in objects("mutual-tls", "Service")}
    assert "clusterIP" not in services["auth-countersign-internal"]
    assert services["auth-countersign-internal-headless"]["clusterIP"] == "None"
    # Its name leads to pods, so that it cannot map ports.
    assert services["auth-countersign-internal-headless"]["ports"][0]["port"] == 50052
    (certificate,) = objects("mutual-tls", "Certificate")
    for name in services.keys() - {"auth-countersign-metrics"}:
        assert f"{name}.identity.svc" in certificate["spec"]["dnsNames"]


def test_names_of_services_are_short_enough():
    for service in parsed(template("--values", SETS["mutual-tls"], "--set", f"fullnameOverride={'n' * 60}"), "Service"):
        assert len(service["metadata"]["name"]) <= 63


class Unique(yaml.SafeLoader):
    """Takes no key twice."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key) for key, _ in node.value]
        assert len(keys) == len(set(keys)), keys
        return super().construct_mapping(node, deep)


def test_no_key_is_there_twice(values):
    list(yaml.load_all(rendered(values), Unique))


def test_labels_that_are_given_twice_are_there_once():
    team = ["commonLabels", "podLabels", "metrics.dashboard.labels", "metrics.serviceMonitor.labels", "metrics.prometheusRule.labels"]
    own = ["commonLabels.app\\.kubernetes\\.io/name=other", "podLabels.app\\.kubernetes\\.io/name=other"]
    more = [word for text in [*(f"{name}.team={name[0]}" for name in team), *own] for word in ("--set", text)]
    text = template("--values", SETS["postgres-ha"], *more)
    list(yaml.load_all(text, Unique))
    for kind in ("Deployment", "Job"):
        (workload,) = parsed(text, kind)
        labels = workload["spec"]["template"]["metadata"]["labels"]
        assert (labels["team"], labels["app.kubernetes.io/name"]) == ("p", "countersign")
        assert workload["metadata"]["labels"]["team"] == "c"


def test_mails_that_nobody_gets_have_a_volume_of_their_own(values):
    (deployment,) = objects(values, "Deployment")
    spec = deployment["spec"]["template"]["spec"]
    mounts = {mount["mountPath"]: mount["name"] for mount in spec["containers"][0]["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    if values == "ingress-mail-oauth":
        assert "/var/lib/countersign/mail" not in mounts
    else:
        assert "sizeLimit" in volumes[mounts["/var/lib/countersign/mail"]]["emptyDir"]


def test_the_ingress_knows_every_service_of_grpc():
    """But Envoy's, which gateways ask inside of the cluster."""
    protos = (ROOT / "proto/countersign").rglob("*.proto")
    services = {f"countersign.v1.{name}" for proto in protos for name in re.findall(r"^service (\w+)", proto.read_text(), re.M)}
    assert "countersign.v1.AuthService" in services
    shared = re.findall(r'"/(grpc\.[\w.]+)/"', (ROOT / "src/api/side.rs").read_text().split("#[cfg(test)]")[0])
    assert {"grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"} <= set(shared)
    paths = yaml.safe_load((CHART / "values.yaml").read_text())["ingress"]["grpc"]["paths"]
    assert sorted(paths) == sorted(f"/{name}" for name in services | set(shared))


def test_streams_may_last():
    (route,) = objects("gateway", "HTTPRoute")
    assert [rule["timeouts"] for rule in route["spec"]["rules"]] == [{"request": "0s"}]
