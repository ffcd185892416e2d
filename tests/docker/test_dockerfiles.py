"""What the Dockerfiles say, without Docker; `make images images-test` builds and runs them."""

import re
import runpy
import shlex
from pathlib import Path

import pytest

from components import images

ROOT = Path(__file__).parent.parent.parent
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
PACKAGES_OF_TOOLS = {"apt", "bash", "binutils", "dpkg", "gcc", "git", "perl", "python3-pip", "curl"}


def instructions(path: Path) -> list[tuple[str, str]]:
    """(instruction, its words) in order, continuation lines joined and comments left out."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return [(line.split()[0], line.partition(" ")[2]) for line in lines]


def final_stage(path: Path) -> list[tuple[str, str]]:
    found = instructions(path)
    start = max(i for i, (name, _) in enumerate(found) if name == "FROM")
    return found[start:]


@pytest.fixture(params=DOCKERFILES, ids=lambda path: path.stem)
def dockerfile(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


def test_the_final_stage_starts_from_nothing_and_runs_nothing(dockerfile: Path) -> None:
    stage = final_stage(dockerfile)
    assert stage[0] == ("FROM", "scratch")
    assert not [name for name, _ in stage if name in ("RUN", "ADD")]
    assert all(words.startswith("--from=") for name, words in stage if name == "COPY")


def test_every_other_stage_starts_from_the_base_argument_or_another_stage(
    dockerfile: Path,
) -> None:
    origins = [words.split()[0] for name, words in instructions(dockerfile) if name == "FROM"]
    assert set(origins) == {"${BASE}", "build", "scratch"}
    assert instructions(dockerfile)[0] == ("ARG", "BASE=debian:bookworm-slim")


def test_an_image_runs_as_a_number_stops_on_sigterm_and_says_what_it_is(dockerfile: Path) -> None:
    stage = dict(final_stage(dockerfile))
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", stage["USER"])
    assert stage["STOPSIGNAL"] == "SIGTERM"
    assert "HEALTHCHECK" in stage
    labels = [w for name, w in final_stage(dockerfile) if name == "LABEL"]
    found = set(re.findall(r"org\.opencontainers\.image\.([a-z.]+)=", " ".join(labels)))
    assert found == {"title", "description", "licenses", "version", "revision", "base.name"}


def test_the_root_filesystem_holds_no_tools_and_a_shell_only_where_kfp_needs_one(
    dockerfile: Path,
) -> None:
    [made] = [w for n, w in instructions(dockerfile) if n == "RUN" and "root_filesystem" in w]
    packages = set(shlex.split(made)[1:])
    assert not packages & PACKAGES_OF_TOOLS
    assert ("dash" in packages) == (dockerfile.stem == "steps")


def test_no_secret_of_the_build_enters_a_layer(dockerfile: Path) -> None:
    text = dockerfile.read_text()
    assert "PIP_CERT" not in [w.split("=")[0] for n, w in instructions(dockerfile) if n == "ENV"]
    assert "COPY docker/wheels" not in text
    assert not re.search(r"(?i)(password|token|secret_access)", text)


def test_the_images_are_the_ones_that_pipeline_and_manifests_name() -> None:
    make = (ROOT / "Makefile").read_text()
    version = re.search(r"^VERSION := (.+)$", make, re.MULTILINE)
    assert version
    named = {images.DATA_IMAGE, images.TRAINER_IMAGE, images.PREDICTOR_IMAGE}
    named |= {images.DASHBOARD_IMAGE}
    assert {image.rpartition(":")[2] for image in named} == {version[1]}
    for image in (images.DATA_IMAGE, images.TRAINER_IMAGE, images.DASHBOARD_IMAGE):
        assert f"$(TAG)/{image.rpartition(':')[0].removeprefix('finegate/')}:$(VERSION)" in make


def test_an_extras_requirements_are_resolved_as_pip_would() -> None:
    module = runpy.run_path(str(ROOT / "docker" / "install_extra.py"))
    serve, train = module["requirements"]("serve"), module["requirements"]("train")
    assert any(each.startswith("kserve") for each in serve)
    assert not any(each.startswith(("kfp", "deepspeed", "boto3")) for each in serve)
    assert set(serve) <= set(train)
    assert any(each.startswith("deepspeed") for each in train)
    assert any(each.startswith("kfp") for each in train)
    assert not any(each.startswith("finegate") for each in train)
    data, both = module["requirements"]("data"), module["requirements"]("data,mlflow")
    assert [each.split(">")[0] for each in set(both) - set(data)] == ["mlflow-skinny"]


def test_the_sdk_called_docker_is_not_shadowed_by_the_folder() -> None:
    import docker  # what kfp.local imports

    assert hasattr(docker, "from_env")
    assert not list((ROOT / "docker").rglob("__init__.py"))
