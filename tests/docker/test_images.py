"""The built images, run as a restricted pod would run them: `make images images-test`."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from components import promotions, storage
from components.images import DASHBOARD_IMAGE, DATA_IMAGE, PREDICTOR_IMAGE, TRAINER_IMAGE
from pipelines.compile import COMPILED
from tests.conftest import WORDS, hotel_rows
from tests.pipelines.launcher import Cluster
from tests.pipelines.test_local import CONFIG

DOCKER = os.environ.get("DOCKER", "docker")
USER = "65532:65532"
RESTRICTED = (
    "--read-only",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    f"--user={USER}",
)
CPU_PREDICTOR_BYTES = 1.5e9

pytestmark = pytest.mark.skipif(
    "FINEGATE_IMAGES" not in os.environ, reason="needs Docker and `make images`"
)


def docker(*arguments: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
    ended = subprocess.run(
        [DOCKER, *arguments], capture_output=True, text=True, timeout=300, **options
    )
    assert ended.returncode == 0 or not check, ended.stdout + ended.stderr
    return ended


def facts(image: str) -> dict[str, Any]:
    [found] = json.loads(docker("image", "inspect", image).stdout)
    return dict(found)


def inside(container: str, code: str) -> subprocess.CompletedProcess[str]:
    return docker("exec", container, "python", "-c", code, check=False)


ASK = """
import json, urllib.request as r
body = json.dumps({"instances": ["the room was wonderful", "awful dirty room"]}).encode()
request = r.Request("http://127.0.0.1:8080/v1/models/hotels:predict", body,
                    {"content-type": "application/json"})
print(r.urlopen(request, timeout=30).read().decode())
"""
READY = "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/v2/models/hotels/ready')"


@pytest.fixture(scope="module")
def predictor(tiny_model: Path) -> Iterator[str]:
    """A predictor's container: no network but loopback, nothing writable but /tmp."""
    for path in (tiny_model, *tiny_model.iterdir()):
        path.chmod(0o755 if path.is_dir() else 0o644)
    for parent in list(tiny_model.parents)[:2]:
        parent.chmod(0o755)
    container = docker(
        *("run", "--detach", *RESTRICTED, "--network=none", "--memory=2g", "--cpus=2"),
        *("--tmpfs=/tmp:size=64m", f"--volume={tiny_model}:/mnt/models:ro"),
        *(PREDICTOR_IMAGE, "--model-dir", "/mnt/models", "--model-name", "hotels"),
    ).stdout.strip()
    try:
        deadline = time.monotonic() + 120
        while inside(container, READY).returncode != 0:
            state = docker("inspect", "--format={{.State.Running}}", container).stdout.strip()
            assert state == "true", docker("logs", container).stderr
            assert time.monotonic() < deadline, docker("logs", container).stderr
            time.sleep(1)
        yield container
    finally:
        docker("rm", "--force", container)


@pytest.mark.parametrize("image", [PREDICTOR_IMAGE, DATA_IMAGE, TRAINER_IMAGE, DASHBOARD_IMAGE])
def test_an_image_says_who_it_runs_as_what_it_is_and_how_to_stop(image: str) -> None:
    found = facts(image)
    sys.stdout.write(f"\n{image}: {found['Size'] / 1e6:.0f} MB\n")
    config = found["Config"]
    assert config["User"] == USER
    assert config["StopSignal"] == "SIGTERM"
    assert config["Healthcheck"]
    labels = {key.removeprefix("org.opencontainers.image.") for key in config["Labels"]}
    assert {"title", "description", "licenses", "version", "revision", "base.name"} <= labels


def test_the_predictors_image_is_small() -> None:
    assert facts(PREDICTOR_IMAGE)["Size"] < CPU_PREDICTOR_BYTES


def test_the_predictor_answers_by_label_names(predictor: str) -> None:
    answer = json.loads(inside(predictor, ASK).stdout)
    assert len(answer["predictions"]) == 2
    for prediction in answer["predictions"]:
        assert {each["label"] for each in prediction["scores"]} == set(WORDS)
        assert sum(each["score"] for each in prediction["scores"]) == pytest.approx(1, abs=1e-5)


def test_the_dashboard_answers_though_its_store_is_away() -> None:
    keys = ("ACCESS_KEY_ID=a", "SECRET_ACCESS_KEY=b", "ENDPOINT_URL_S3=http://127.0.0.1:1")
    container = docker(
        *("run", "--detach", *RESTRICTED, "--network=none", "--memory=512m", "--tmpfs=/tmp"),
        *(f"--env=AWS_{key}" for key in (*keys, "DEFAULT_REGION=x")),
        *(DASHBOARD_IMAGE, "--store", "s3://bucket"),
    ).stdout.strip()
    ask = """
import sys, urllib.error, urllib.request as r
try:
    print(r.urlopen("http://127.0.0.1:8080" + sys.argv[1], timeout=20).status)
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode())
"""
    try:
        deadline = time.monotonic() + 60
        while (
            "200"
            not in docker("exec", container, "python", "-c", ask, "/healthz", check=False).stdout
        ):
            assert time.monotonic() < deadline, docker("logs", container).stderr
            time.sleep(0.5)
        page = docker("exec", container, "python", "-c", ask, "/").stdout
        assert page.startswith("503")
        assert "The store does not answer" in page
    finally:
        docker("rm", "--force", container)


@pytest.mark.parametrize("program", ["sh", "bash", "pip", "apt-get", "gcc", "ld", "perl"])
def test_the_predictors_image_has_no_shell_installer_or_compiler(
    predictor: str, program: str
) -> None:
    code = f"import shutil, sys; sys.exit(shutil.which({program!r}) is not None)"
    assert inside(predictor, code).returncode == 0
    assert docker("exec", predictor, program, check=False).returncode != 0


def test_the_predictor_may_write_to_tmp_alone_and_has_no_privilege(predictor: str) -> None:
    code = """
import os, pathlib
assert os.getuid() == 65532 and os.getgid() == 65532
status = pathlib.Path("/proc/self/status").read_text()
assert "CapEff:\\t0000000000000000" in status and "NoNewPrivs:\\t1" in status
for folder in ("/", "/app", "/opt/venv", "/home/finegate", "/mnt/models", "/etc", "/var"):
    try:
        pathlib.Path(folder, "probe").write_text("x")
    except OSError:
        continue
    raise SystemExit(f"{folder} can be written")
for folder, _, files in os.walk("/opt"):
    for file in files:
        mode = os.lstat(os.path.join(folder, file)).st_mode
        if mode & 0o6002 and not os.path.islink(os.path.join(folder, file)):
            raise SystemExit(f"{folder}/{file} is setuid or writable by all")
"""
    ended = inside(predictor, code)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_docker_sees_the_predictor_healthy_and_it_stops_cleanly(predictor: str) -> None:
    deadline = time.monotonic() + 60
    while "healthy" not in (
        said := docker("inspect", "--format={{.State.Health.Status}}", predictor).stdout
    ).split("\n"):
        assert time.monotonic() < deadline, said
        time.sleep(1)
    docker("stop", "--time=30", predictor)
    state = json.loads(docker("inspect", "--format={{json .State}}", predictor).stdout)
    logs = docker("logs", predictor)
    assert state["ExitCode"] == 0, logs.stdout + logs.stderr
    assert not state["OOMKilled"]
    assert "Traceback" not in logs.stdout + logs.stderr
    assert "draining" in logs.stdout + logs.stderr


@dataclass
class Containers(Cluster):
    """Each task in a container of the IR's image, with nothing of this machine but the S3 port."""

    images: set[str] = field(default_factory=set)

    def start(self, image: str, command: list[str], home: Path) -> subprocess.CompletedProcess[str]:
        for folder in (home, home / "outputs", home / "s3"):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o777)
        variables = [part for item in self.environment.items() for part in ("-e", "=".join(item))]
        self.images.add(image)
        return subprocess.run(
            [
                *(DOCKER, "run", "--rm", *RESTRICTED, "--network=host", "--memory=4g"),
                *("--tmpfs=/tmp:size=1g", f"--volume={home}/s3:/s3"),
                *(f"--volume={home}/outputs:{home}/outputs", *variables),
                *(f"--entrypoint={command[0]}", image, *command[1:]),
            ],
            capture_output=True,
            text=True,
            timeout=500,
        )


def test_the_whole_pipeline_runs_task_by_task_in_the_images(s3: dict[str, str], store: str) -> None:
    rows = "".join(f"{text},{label}\n" for text, label in hotel_rows(600))
    reviews = f"{store}/given/reviews.csv"
    storage.write_bytes(reviews, f"text,label\n{rows}".encode(), "text/csv")
    sections = {k: CONFIG[k] for k in ("base_model", "tokenization", "training", "gate")}
    cluster = Containers(COMPILED, f"{store}/artifacts", "5d1c-in-images", s3)
    given = {"store": store, "name": "hotels", "dataset": {"s3": reviews}}
    cluster.run({**given, **sections})
    assert cluster.images == {DATA_IMAGE, TRAINER_IMAGE}
    champion = promotions.champion(store, "hotels")
    assert champion is not None
    assert champion.run == "5d1c-in-images"
