"""The Kubernetes manifests: valid in several versions, closed but for what is admitted, able to stop and to scale."""

import json
import shutil
from functools import cache
from ipaddress import ip_address, ip_network
from pathlib import Path
from tempfile import TemporaryDirectory

import jsonschema
import kubernetes_validate
import pytest

from tests.deployed import PROCESSES, ROOT, SETTINGS, STORE_OF, STORES, compose, rendered

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")

OVERLAYS = ("dev", "prod", "gpu")
VERSIONS = ("1.29", "1.33", "1.37")
WORKLOADS = {"Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"}
SCALED_OBJECT = json.loads((ROOT / "tests/unit/scaledobject.schema.json").read_text())
COMPONENT = "app.kubernetes.io/component"
PRIVATE = [
    "10.1.2.3",
    "100.64.0.1",
    "127.0.0.1",
    "169.254.169.254",
    "172.31.0.1",
    "192.168.1.1",
    "0.0.0.0",
    "224.0.0.1",
]
PRIVATE += ["::1", "fd00::1", "fe80::1", "ff02::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::", "2001::1"]


@cache
def documents(overlay):
    with TemporaryDirectory() as folder:
        return rendered(overlay, Path(folder))


def of_kind(overlay, *kinds):
    return [document for document in documents(overlay) if document["kind"] in kinds]


def workloads(overlay):
    return {document["metadata"]["name"]: document for document in of_kind(overlay, *WORKLOADS)}


def pod(document):
    return document["spec"]["template"]["spec"]


def containers(overlay):
    """Return (workload, container) of every container, those that run first included."""
    return [
        (name, container)
        for name, document in workloads(overlay).items()
        for container in pod(document).get("initContainers", []) + pod(document)["containers"]
    ]


def variables(container):
    return {entry["name"]: entry["value"] for entry in container.get("env", [])}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_document_is_valid(overlay, version):
    for document in documents(overlay):
        if document["kind"] == "ScaledObject":
            jsonschema.validate(document, SCALED_OBJECT)
        else:
            kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_has_every_part_in_one_namespace(overlay):
    triton = {"triton"} if overlay == "gpu" else set()
    namespaced = [document for document in documents(overlay) if document["kind"] != "Namespace"]
    own = "quarry-dev" if overlay == "dev" else "quarry"

    assert workloads(overlay).keys() == {*PROCESSES, *STORES, *triton}
    assert {document["metadata"].get("namespace") for document in namespaced} == {own}
    assert [document["metadata"]["name"] for document in of_kind(overlay, "Namespace")] == [own]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_are_as_restricted_as_they_can_be(overlay):
    for name, document in workloads(overlay).items():
        spec, context = pod(document), pod(document)["securityContext"]
        assert context["runAsNonRoot"], name
        assert context["runAsUser"] > 0, name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["automountServiceAccountToken"] is spec["enableServiceLinks"] is False, name
        assert {"hostNetwork", "hostPID", "hostIPC"}.isdisjoint(spec), name
        assert not [volume for volume in spec["volumes"] if "hostPath" in volume], name
        assert all(volume["emptyDir"].get("sizeLimit") for volume in spec["volumes"] if "emptyDir" in volume), name
    for name, container in containers(overlay):
        wanted = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
        assert container["securityContext"] == wanted, name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_container_asks_for_what_it_needs_and_has_a_limit(overlay):
    for name, container in containers(overlay):
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}, name
        assert "memory" in container["resources"]["limits"], name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_have_time_to_finish_and_nothing_runs_before_they_are_told_to(overlay):
    for name, document in workloads(overlay).items():
        assert pod(document)["terminationGracePeriodSeconds"] >= 90, name
        assert not [container for container in pod(document)["containers"] if "lifecycle" in container], name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_says_when_it_began_works_and_is_ready(overlay):
    for name, document in workloads(overlay).items():
        for container in pod(document)["containers"]:
            assert {"startupProbe", "livenessProbe", "readinessProbe"} <= container.keys(), name


def test_alive_asks_no_other_server_and_ready_does():
    probes = {name: pod(document)["containers"][0] for name, document in workloads("prod").items() if name in PROCESSES}
    worker = ["python", "-m", "services.distributed.alive"]

    for name, container in probes.items():
        alive, ready = container["livenessProbe"], container["readinessProbe"]
        if name == "api":
            assert (alive["httpGet"]["path"], ready["httpGet"]["path"]) == ("/healthz", "/readyz")
        else:
            assert (alive["exec"]["command"], ready["exec"]["command"]) == (worker, [*worker, "--ready"]), name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_images_are_those_of_compose(overlay):
    services = compose()["services"]
    known = {service["image"] for service in services.values()} | {"quarry/models:0.1.0"}
    used = {container["image"].removeprefix("registry.example.com/") for _, container in containers(overlay)}

    assert used <= known
    assert {services[name]["image"] for name in (*PROCESSES, *STORES)} <= used


def test_stores_are_set_up_as_in_compose():
    for name in ("redis-broker", "redis-cache"):
        assert pod(workloads("prod")[name])["containers"][0]["args"] == compose()["services"][name]["command"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_must_not_be_lost_is_on_volumes(overlay):
    sets = {name for name, document in workloads(overlay).items() if document["spec"].get("volumeClaimTemplates")}

    assert sets == {"cloner", "postgres", "redis-broker", "minio", "qdrant"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_variable_is_a_setting_and_every_secret_is_mounted(overlay):
    for document in of_kind(overlay, "ConfigMap"):
        assert document["data"].keys() <= SETTINGS
    for name, document in workloads(overlay).items():
        if name not in PROCESSES:
            continue
        mounted = {
            item["path"] for volume in pod(document)["volumes"] for item in volume.get("secret", {}).get("items", [])
        }
        for variable, value in variables(pod(document)["containers"][0]).items():
            assert variable.removesuffix("_FILE") in SETTINGS
            assert not variable.endswith("_FILE") or value.removeprefix("/run/secrets/") in mounted
        assert mounted == set(compose()["services"][name]["secrets"]), name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nobody_talks_to_anybody_unless_a_policy_admits_it(overlay):
    policies = {document["metadata"]["name"]: document["spec"] for document in of_kind(overlay, "NetworkPolicy")}

    assert policies["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_policies_admit_who_has_the_secret_and_both_ends_agree(overlay):
    needed = {
        (name, STORE_OF[secret])
        for name in PROCESSES
        for secret in compose()["services"][name]["secrets"]
        if secret in STORE_OF
    }
    if overlay == "gpu":
        needed |= {("api", "triton"), ("embedder", "triton")}

    assert admitted(overlay, "ingress") == admitted(overlay, "egress")
    assert {(source, target) for source, target, _ in admitted(overlay, "egress")} == needed


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_ports_that_policies_admit_are_those_that_are_served(overlay):
    served = {
        (name, port["containerPort"])
        for name, document in workloads(overlay).items()
        for port in pod(document)["containers"][0].get("ports", [])
    }

    assert {(target, port) for _, target, port in admitted(overlay, "egress")} <= served


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_only_the_cloner_reaches_out_and_only_to_public_addresses(overlay):
    out = {
        selected(document["spec"]["podSelector"]): peer["ipBlock"]
        for document in of_kind(overlay, "NetworkPolicy")
        for rule in document["spec"].get("egress", [])
        for peer in rule["to"]
        if "ipBlock" in peer
    }

    assert out.keys() == {("cloner",)}


@pytest.mark.parametrize(
    ("address", "wanted"), [(a, False) for a in PRIVATE] + [("140.82.121.4", True), ("2606:50c0::1", True)]
)
def test_addresses_the_cloner_may_reach(address, wanted):
    policy = next(p for p in of_kind("prod", "NetworkPolicy") if p["metadata"]["name"] == "cloner-internet")
    blocks = [peer["ipBlock"] for peer in policy["spec"]["egress"][0]["to"]]

    assert any(admits(block, ip_address(address)) for block in blocks) is wanted
    assert policy["spec"]["egress"][0]["ports"] == [{"port": 443}, {"port": 22}]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_one_way_in_is_the_ingress_to_the_api(overlay):
    backends = [
        path["backend"]["service"]["name"]
        for document in of_kind(overlay, "Ingress")
        for rule in document["spec"]["rules"]
        for path in rule["http"]["paths"]
    ]

    assert backends == ([] if overlay == "dev" else ["api"])
    assert {document["spec"].get("type", "ClusterIP") for document in of_kind(overlay, "Service")} == {"ClusterIP"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_workload_is_scaled_by_one_and_then_has_no_number_of_its_own(overlay):
    scaled = [d["spec"]["scaleTargetRef"]["name"] for d in of_kind(overlay, "HorizontalPodAutoscaler", "ScaledObject")]

    assert len(scaled) == len(set(scaled))
    assert not [name for name in scaled if "replicas" in workloads(overlay)[name]["spec"]]
    wanted = {"dev": set(), "prod": {"api", "chunker", "embedder", "indexer"}}
    assert set(scaled) == wanted.get(overlay, wanted["prod"] | {"triton"})


def test_workers_scale_with_all_that_waits_in_the_ledger_and_never_to_none():
    stage = {"chunker": "chunk", "embedder": "embed", "indexer": "index"}
    for document in of_kind("prod", "ScaledObject"):
        spec, name = document["spec"], document["metadata"]["name"]
        places = {t["name"]: t["metadata"]["valueLocation"] for t in spec["triggers"]}
        assert spec["minReplicaCount"] >= 1
        assert spec["advanced"]["scalingModifiers"]["formula"] == " + ".join(places)
        assert places == {
            priority: f'quarry_queue_depth{{stage="{stage[name]}",priority="{priority}"}}'
            for priority in ("interactive", "push", "bulk")
        }


@pytest.mark.parametrize("overlay", ["prod", "gpu"])
def test_a_drain_leaves_one_api_and_one_triton(overlay):
    budgets = {
        document["spec"]["selector"]["matchLabels"][COMPONENT]: document["spec"]
        for document in of_kind(overlay, "PodDisruptionBudget")
    }
    least = {
        d["spec"]["scaleTargetRef"]["name"]: d["spec"].get("minReplicas")
        for d in of_kind(overlay, "HorizontalPodAutoscaler")
    }

    for name in {"api", "triton"} & workloads(overlay).keys():
        assert budgets[name]["minAvailable"] == 1
        # With one pod only, it would never leave its node.
        assert least[name] >= 2
    assert {"chunker", "embedder", "indexer"} <= budgets.keys() <= workloads(overlay).keys()


def test_gpus_are_for_triton_alone():
    limits = {name: container["resources"]["limits"] for name, container in containers("gpu")}

    assert {name for name, limit in limits.items() if "nvidia.com/gpu" in limit} == {"triton"}
    assert not [1 for _, container in containers("prod") if "nvidia.com/gpu" in container["resources"]["limits"]]


def test_all_who_embed_have_the_files_of_the_model():
    for name in ("api", "embedder"):
        spec = pod(workloads("gpu")[name])
        assert variables(spec["containers"][0])["QUARRY_MODEL"] == "/models/minilm"
        assert {"name": "models", "mountPath": "/models", "readOnly": True} in spec["containers"][0]["volumeMounts"]
        assert spec["initContainers"][0]["command"] == ["cp", "-r", "/models/minilm", "/shared/"]


@pytest.mark.parametrize("overlay", ["prod", "gpu"])
def test_no_secret_is_in_what_is_deployed(overlay):
    assert of_kind(overlay, "Secret") == []


def selected(selector):
    """Return the components that a selector of pods names."""
    names = [selector["matchLabels"][COMPONENT]] if COMPONENT in selector.get("matchLabels", {}) else []
    for expression in selector.get("matchExpressions", []):
        assert (expression["key"], expression["operator"]) == (COMPONENT, "In")
        names += expression["values"]
    return tuple(names)


def admitted(overlay, direction):
    """Return (from, to, port) of all that policies admit between pods here, as one end sees it."""
    found = set()
    for document in of_kind(overlay, "NetworkPolicy"):
        for rule in document["spec"].get(direction, []):
            peers = rule["from" if direction == "ingress" else "to"]
            for peer in (peer for peer in peers if peer.keys() == {"podSelector"}):
                here, there = selected(document["spec"]["podSelector"]), selected(peer["podSelector"])
                pairs = [(b, a) if direction == "ingress" else (a, b) for a in here for b in there]
                found |= {(*pair, port["port"]) for pair in pairs for port in rule["ports"]}
    return found


def admits(block, address):
    inside = [ip_network(network) for network in block.get("except", [])]
    return address in ip_network(block["cidr"]) and not any(address in network for network in inside)
