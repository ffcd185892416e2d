"""The KServe model by itself, without a server."""

import asyncio
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from serving.errors import InputError
from serving.predictor import Predictor
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
        answer, headers = await early
        assert (len(answer["predictions"]), headers["x-model-version"]) == (3_000, "one")
        assert (answer["model_version"], late["model_version"]) == ("one", "two")
        while old.batcher.alive:
            await asyncio.sleep(0.005)

    asyncio.run(asyncio.wait_for(swap(), 60))


def test_it_is_not_healthy_once_its_worker_is_dead_or_it_drains(link: Path) -> None:
    async def ask() -> None:
        predictor = Predictor("hotels", link, 10)
        assert await predictor.healthy()
        predictor.draining = True
        assert not await predictor.healthy()
        predictor.draining = False
        predictor.loaded.batcher.close()
        while predictor.loaded.batcher.alive:
            await asyncio.sleep(0.005)
        assert not await predictor.healthy()

    asyncio.run(asyncio.wait_for(ask(), 60))
