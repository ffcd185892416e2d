"""The KServe model and its routes by themselves, without a server."""

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from kserve import InferInput, InferRequest
from kserve.errors import ModelNotFound
from safetensors.torch import load_file, save_file
from starlette.requests import Request
from transformers import AutoConfig, AutoModelForSequenceClassification

from serving.errors import InputError
from serving.metrics import RELOADS
from serving.predictor import LARGE_TEXTS, Predictor
from serving.rest import RestRoutes
from tests.serving.conftest import point, release


@pytest.fixture
def link(tiny_model: Path, tmp_path: Path) -> Path:
    link = tmp_path / "current"
    link.symlink_to(release(tiny_model, tmp_path / "one", "one"))
    return link


def test_a_torn_file_of_weights_is_refused_whatever_its_reader_raises(link: Path) -> None:
    (link / "model.safetensors").write_bytes(b"torn")
    (link / "release.json").unlink()
    with pytest.raises(InputError, match="cannot be served"):
        Predictor("hotels", link, 10)


def test_a_model_that_answers_nan_is_refused(link: Path) -> None:
    tensors = load_file(link / "model.safetensors")
    tensors["classifier.bias"][0] = float("nan")
    save_file(tensors, link / "model.safetensors", {"format": "pt"})
    (link / "release.json").unlink()
    with pytest.raises(InputError, match="NaN or infinity"):
        Predictor("hotels", link, 10)


def test_a_decoder_that_cannot_tell_padding_is_refused(link: Path) -> None:
    labels = AutoConfig.from_pretrained(link).id2label
    config = AutoConfig.for_model(
        "gpt2", vocab_size=99, n_embd=8, n_layer=1, n_head=1, id2label=labels, pad_token_id=None
    )
    AutoModelForSequenceClassification.from_config(config).save_pretrained(link)
    (link / "release.json").unlink()
    with pytest.raises(InputError, match=r"padding token .* needs pad_token_id in its config"):
        Predictor("hotels", link, 10)


def test_a_reload_that_fails_for_any_reason_is_counted_and_keeps_the_old_release(
    link: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    predictor = Predictor("hotels", link, 10)
    failed = RELOADS.labels("failed")
    before = failed._value.get()
    (tmp_path / "loop").symlink_to(link)
    point(link, tmp_path / "loop")
    asyncio.run(predictor.reload())
    assert failed._value.get() == before + 1
    assert "kept version one" in caplog.text
    answer = asyncio.run(predictor.predict({"instances": ["us"]}))
    assert isinstance(answer, dict)
    assert answer["model_version"] == "one"


def test_a_link_into_another_mount_namespace_is_followed(tiny_model: Path, tmp_path: Path) -> None:
    """As KServe makes for a model that is in an image."""
    mounted, link = tmp_path / "mounted", tmp_path / "current"
    mounted.mkdir()
    copy = f"mount -t tmpfs none {mounted} && cp -r {tiny_model}/. {mounted} && echo && cat"
    with subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", copy], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdin
        assert other.stdout
        if other.stdout.readline() != b"\n":
            pytest.skip("mounts are not allowed here")
        link.symlink_to(f"/proc/{other.pid}/root{mounted}")
        assert not list(link.resolve().iterdir())
        assert Predictor("hotels", link, 10).loaded.version == "unreleased"
        other.stdin.close()


def test_requests_of_the_old_release_are_finished_by_it_after_a_swap(
    link: Path, tiny_model: Path, tmp_path: Path
) -> None:
    async def swap() -> None:
        predictor = Predictor("hotels", link, 10_000)
        old = predictor.loaded
        body = {"instances": ["the room was clean"] * 3_000}
        early = asyncio.ensure_future(predictor(body))
        await asyncio.sleep(0)  # lets it queue
        point(link, release(tiny_model, tmp_path / "two", "two"))
        await predictor.reload()
        late, _ = await predictor({"instances": ["us"]})
        for_one = InferRequest(
            "hotels", [InferInput("text", [1], "BYTES", ["us"])], model_version="one"
        )
        with pytest.raises(ModelNotFound):
            await predictor(for_one)
        answer, headers = await early
        assert (len(answer["predictions"]), headers["x-model-version"]) == (3_000, "one")
        assert (answer["model_version"], late["model_version"]) == ("one", "two")
        while old.batcher.alive:
            await asyncio.sleep(0.005)

    asyncio.run(asyncio.wait_for(swap(), 60))


def test_a_client_that_leaves_as_its_answer_comes_cancels_nothing(link: Path) -> None:
    gone = asyncio.Event()

    class Leaving(Predictor):
        async def predict(self, *given: Any, **more: Any) -> Any:
            answer = await super().predict(*given, **more)
            gone.set()
            await asyncio.sleep(0)  # the route hears of the client and has the answer in one turn
            return answer

    body = json.dumps({"instances": ["us"] * LARGE_TEXTS}).encode()
    messages = [{"type": "http.request", "body": body}]

    async def receive() -> Any:
        if messages:
            return messages.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def ask() -> None:
        names = {"model_name": "hotels"}
        scope = {"type": "http", "headers": [], "path_params": names}
        rest = RestRoutes(Leaving("hotels", link, 10_000), None)
        answer = await rest.predict(Request(scope, receive))
        assert len(json.loads(answer.body)["predictions"]) == LARGE_TEXTS

    asyncio.run(asyncio.wait_for(ask(), 60))


def test_it_is_not_healthy_once_its_worker_is_dead_or_it_drains(link: Path) -> None:
    async def ask() -> None:
        predictor = Predictor("hotels", link, 10)
        assert await predictor.healthy()
        predictor.draining = True
        assert not await predictor.healthy()
        predictor.draining = False
        rest, live = RestRoutes(predictor, None), Request({"type": "http"})
        assert (await rest.live(live)).status_code == 200
        predictor.loaded.batcher.close()
        while predictor.loaded.batcher.alive:
            await asyncio.sleep(0.005)
        assert not await predictor.healthy()
        assert (await rest.live(live)).status_code == 503

    asyncio.run(asyncio.wait_for(ask(), 60))
