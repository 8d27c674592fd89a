"""The images and the Compose files: who may do what, who reaches whom, and that nothing is left open."""

import json
import shutil
import socket
import stat
import subprocess
import sys
import time
from fnmatch import fnmatch
from importlib.metadata import packages_distributions

import pytest
import redis

from tests.deployed import OWN_NAMES, PROCESSES, ROOT, SETTINGS, STORE_OF, STORES, compose, lineage, stages
from tests.servers import free_port

SERVICES = compose()["services"]
TRITON = ("model", "triton")
# What each image imports when its processes start, and the adapters they open later.
MODULES = {
    "api": "distributed.web core.adapters.s3 core.adapters.static core.adapters.triton core.adapters.qdrant_server",
    "chunker": "distributed.worker distributed.alive chunker.tasks core.adapters.s3 core.adapters.redis_check",
    "embedder": "distributed.worker embedder.tasks core.adapters.s3 core.adapters.redis_cache core.adapters.static "
    "core.adapters.triton",
    "indexer": "distributed.worker indexer.tasks core.adapters.s3 core.adapters.qdrant_server",
    "sweeper": "distributed.sweeper distributed.alive core.adapters.redis_check",
}
# Run where an image's files are: imports modules, and finds no package that the image has not.
IMPORTING = """
import importlib, json, sys

class Missing:
    names = frozenset(json.loads(sys.argv[1]))

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"no {name} in this image", name=name)

sys.meta_path.insert(0, Missing())
for name in sys.argv[2].split():
    importlib.import_module(f"services.{name}")
"""
# The region is MinIO's own, and ONNX Runtime is in no image but the one for a GPU.
NOT_IN_COMPOSE = {"QUARRY_S3_REGION", "QUARRY_ONNX_PROVIDER"}
_START_LIMIT_S = 20.0


def environment(service):
    return SERVICES[service].get("environment", {})


def reachable(service):
    """Return the stores that share a network with a service."""
    return {store for store in STORES if set(SERVICES[store]["networks"]) & set(SERVICES[service]["networks"])}


@pytest.mark.parametrize("name", ["docker-compose.yml", "compose.gpu.yaml"])
def test_compose_files_follow_the_specification(name):
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", ROOT / name]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout


def test_a_plain_up_starts_everything_but_triton():
    plain = {name for name, service in SERVICES.items() if "profiles" not in service}

    assert plain == {*PROCESSES, *STORES}
    assert all(SERVICES[name]["profiles"] == ["triton"] for name in TRITON)


def test_only_the_api_is_published_and_on_loopback():
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}

    assert published == {"api": ["${QUARRY_PUBLISH:-127.0.0.1:8080}:8080"]}


def test_only_the_cloner_and_the_download_of_the_model_leave_the_host():
    networks = compose()["networks"]
    leading_out = {name for name, network in networks.items() if not network.get("internal")}
    masquerade = networks["edge"]["driver_opts"]["com.docker.network.bridge.enable_ip_masquerade"]

    assert leading_out == {"edge", "egress"}
    assert masquerade == "false"
    assert {name for name, service in SERVICES.items() if "edge" in service["networks"]} == {"api"}
    assert {name for name, service in SERVICES.items() if "egress" in service["networks"]} == {"cloner", "model"}


@pytest.mark.parametrize("process", PROCESSES)
def test_a_process_reaches_the_servers_it_has_secrets_for_and_no_others(process):
    needed = {STORE_OF[secret] for secret in SERVICES[process]["secrets"] if secret in STORE_OF}
    # The ledger, the broker and the blobs share a network, and whoever has no key of the blobs reads none.
    shared = {"minio"} if process == "sweeper" else set()

    assert reachable(process) == needed | shared


def test_what_parses_code_of_strangers_reaches_ledger_broker_and_blobs_only():
    assert reachable("chunker") == {"postgres", "redis-broker", "minio"}


@pytest.mark.parametrize("name", SERVICES)
def test_no_service_may_do_more_than_it_must(name):
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"privileged", "cap_add", "network_mode", "pid", "devices"}.isdisjoint(service)
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert not any(volume.startswith(("/", ".", "~")) for volume in service.get("volumes", []))


@pytest.mark.parametrize("name", SERVICES)
def test_no_service_runs_as_root(name):
    service = SERVICES[name]
    built = service.get("build", {}).get("context")
    user = service.get("user") or last_user(ROOT / built / service["build"].get("dockerfile", "Dockerfile"))

    assert int(user.split(":")[0]) > 0


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned(name):
    tag = SERVICES[name]["image"].rpartition(":")[2]

    assert tag[0].isdigit() or tag.startswith(("v", "RELEASE."))


@pytest.mark.parametrize("process", PROCESSES)
def test_processes_have_time_to_finish_and_are_started_again(process):
    assert SERVICES[process]["stop_grace_period"] == "90s"
    assert SERVICES[process]["restart"] == "unless-stopped"


def test_nothing_starts_before_what_it_needs_is_healthy():
    for name, service in SERVICES.items():
        for needed, how in service.get("depends_on", {}).items():
            finished = needed == "model"
            assert how["condition"] == ("service_completed_successfully" if finished else "service_healthy"), name
            assert finished or has_health_check(needed), needed


def test_the_broker_neither_evicts_nor_forgets_and_the_cache_may():
    broker, cache = (options(SERVICES[name]["command"]) for name in ("redis-broker", "redis-cache"))

    assert broker.items() >= {"maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "everysec"}.items()
    assert cache.items() >= {"maxmemory-policy": "allkeys-lru", "appendonly": "no", "maxmemory": "1gb"}.items()
    assert broker["save"] == cache["save"] == ""
    assert SERVICES["redis-broker"]["volumes"] == ["redis-broker:/data"]
    assert "volumes" not in SERVICES["redis-cache"]


@pytest.mark.parametrize("name", [*PROCESSES, "model"])
def test_every_variable_is_a_setting_and_every_secret_a_file(name):
    for variable, value in environment(name).items():
        assert variable.removesuffix("_FILE") in SETTINGS | OWN_NAMES
        if variable.endswith("_FILE"):
            assert value.removeprefix("/run/secrets/") in SERVICES[name]["secrets"]


def test_every_setting_of_the_distributed_mode_can_be_given():
    of_the_image = {"QUARRY_HEARTBEAT", "QUARRY_HOME", "QUARRY_HOST", "QUARRY_PORT"}
    of_the_embedded_mode = {"QUARRY_CACHE_SIZE_MB", "QUARRY_SHARD_POINTS", "QUARRY_EXACT_POINTS"}
    given = {name.removesuffix("_FILE") for process in PROCESSES for name in environment(process)}

    assert SETTINGS - given - of_the_image - of_the_embedded_mode == NOT_IN_COMPOSE


def test_the_gpu_is_for_triton_and_all_who_embed_ask_triton():
    override = compose("compose.gpu.yaml")["services"]
    devices = {name: service["deploy"]["resources"] for name, service in override.items() if "deploy" in service}
    device = {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}

    assert devices == {"triton": {"reservations": {"devices": [device]}}}
    embedding = {name for name in PROCESSES if "QUARRY_EMBEDDER" in environment(name)}
    assert {name for name in override if "QUARRY_EMBEDDER" in override[name].get("environment", {})} == embedding


def test_the_script_makes_every_secret_once(tmp_path):
    made = secrets_in(tmp_path / "secrets")
    again = secrets_in(tmp_path / "secrets")

    assert made == again
    assert made.keys() == compose()["secrets"].keys() | {"redis_password"}
    assert made["postgres_password"] in made["database_url"]
    assert made.keys() == secrets_in(tmp_path / "others").keys()
    assert made["qdrant_api_key"] != secrets_in(tmp_path / "others")["qdrant_api_key"]


def test_secrets_are_closed_to_other_users_of_the_host(tmp_path):
    secrets_in(tmp_path / "secrets")

    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "secrets" / "database_url").stat().st_mode) == 0o644


def test_secrets_are_not_in_the_repository_nor_in_an_image():
    tracked = subprocess.run(["git", "ls-files", "deploy/secrets", "k8s"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("not a checkout of git")

    assert "deploy/secrets/.gitignore" in tracked.stdout.split()
    assert not [name for name in tracked.stdout.split() if "/secrets/" in name and not name.endswith(".gitignore")]
    assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*"


@pytest.fixture
def guarded_redis(tmp_path):
    """Yield the port and password of a Redis that was started as the broker is."""
    if not (program := shutil.which("redis-server")):
        pytest.skip("redis-server is not installed (apt install redis-server)")
    made = secrets_in(tmp_path / "secrets")
    places = {"/run/secrets/redis_acl": tmp_path / "secrets" / "redis_acl", "/data": tmp_path}
    words = [str(places.get(word, word)) for word in SERVICES["redis-broker"]["command"][1:]]
    port = free_port()
    process = subprocess.Popen([program, *words, "--port", str(port)], stdout=subprocess.DEVNULL)
    try:
        wait_for_port(port)
        yield port, made["redis_password"]
    finally:
        process.kill()
        process.wait()


def test_without_the_password_redis_says_that_it_is_up_and_nothing_else(guarded_redis):
    port, _ = guarded_redis
    with redis.Redis(port=port) as nobody:
        assert nobody.ping()
        with pytest.raises(redis.exceptions.NoPermissionError):
            nobody.get("anything")


def test_with_the_password_quarry_may_queue_and_look_but_not_wipe(guarded_redis):
    port, password = guarded_redis
    with redis.Redis(port=port, username="quarry", password=password) as quarry:
        quarry.lpush("queue", "message")
        assert quarry.brpop("queue") == (b"queue", b"message")
        assert quarry.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert quarry.info("memory")
        with pytest.raises(redis.exceptions.NoPermissionError):
            quarry.flushall()
        with pytest.raises(redis.exceptions.NoPermissionError):
            quarry.config_set("maxmemory-policy", "allkeys-lru")


@pytest.mark.parametrize("service", MODULES)
def test_an_image_holds_what_its_processes_import(service, tmp_path):
    for stage in lineage(service):
        for arguments in stage.arguments("COPY"):
            copy(arguments, tmp_path)
    command = [sys.executable, "-c", IMPORTING, json.dumps(not_in_image(service)), MODULES[service]]

    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_the_last_stage_has_no_way_to_install_anything():
    removal = next(line for line in stages()["runtime"].arguments("RUN") if "rm -rf" in line)

    assert "--without-pip /opt/quarry" in stages()["packages"].arguments("RUN")[0]
    assert all(place in removal for place in ("/usr/local/bin/pip*", "site-packages/*", "ensurepip"))
    assert not any(word in (ROOT / "services/Dockerfile").read_text() for word in ("gcc", "build-essential", "-dev "))


@pytest.mark.parametrize("service", MODULES)
def test_every_image_says_how_it_is_and_how_to_stop_it(service):
    made = lineage(service)

    assert any(stage.arguments("HEALTHCHECK") for stage in made)
    assert [stage.arguments("CMD") for stage in made if stage.arguments("CMD")]
    assert made[-1].arguments("USER") == ["10001:10001"]
    assert made[-1].arguments("STOPSIGNAL") == ["SIGTERM"]


def test_only_what_fetches_and_parses_has_git():
    tools = [line for line in stages()["runtime"].arguments("RUN") if "git openssh-client" in line]

    assert [line.partition("||")[0].strip() for line in tools] == ['test "${SERVICE}" != chunker']


def options(command):
    """Return the options of a Redis server."""
    words = command[1:]
    return {name.removeprefix("--"): value for name, value in zip(words[::2], words[1::2], strict=True)}


def secrets_in(folder):
    subprocess.run(["sh", ROOT / "deploy/secrets.sh", folder], check=True)
    return {file.name: file.read_text() for file in folder.iterdir()}


def last_user(dockerfile):
    lines = dockerfile.read_text().splitlines()
    return [line.split()[1] for line in lines if line.startswith("USER ")][-1]


def has_health_check(name):
    service = SERVICES[name]
    if "healthcheck" in service:
        return True
    dockerfile = ROOT / service["build"]["context"] / service["build"].get("dockerfile", "Dockerfile")
    return "\nHEALTHCHECK " in dockerfile.read_text()


def wait_for_port(port):
    deadline = time.monotonic() + _START_LIMIT_S
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError(f"nothing listens on port {port} after {_START_LIMIT_S:.0f} s")


def copy(arguments, into):
    """Do what a COPY from the context does."""
    *sources, place = arguments.split()
    if sources[0].startswith("--from") or "${" in arguments:
        return
    for source in sources:
        assert sent(source), f"{source} is left out by .dockerignore"
        whole = into / place / (source.rpartition("/")[2] if place.endswith("/") else "")
        whole.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, whole, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(ROOT / source, whole)


def sent(source):
    """Return whether .dockerignore lets a file into the context; the last pattern that fits decides."""
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    verdict = True
    for pattern in patterns:
        bare = pattern.removeprefix("!")
        if fnmatch(source, bare) or source.startswith(f"{bare}/"):
            verdict = pattern.startswith("!")
    return verdict


def not_in_image(service):
    """Return the modules that are installed here, but by no package in the lock of an image."""
    there = locked(service)
    packages = packages_distributions().items()
    return [module for module, names in packages if there.isdisjoint(map(normal, names)) and module != "services"]


def locked(service):
    lines = (ROOT / "requirements" / f"{service}.txt").read_text().splitlines()
    return {normal(line.partition("==")[0].partition("[")[0]) for line in lines if line[:1].isalnum()}


def normal(name):
    return name.lower().replace("_", "-").replace(".", "-")
