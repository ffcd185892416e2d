"""What operators see of the process: metrics, the log, what it imports."""

import json
import shutil
import signal
from pathlib import Path

import pytest

from components.export_model.openvino_export import write_ir
from components.predictor_process import answering_version
from serving.classifier import Classifier
from serving.settings import SERVING
from tests.serving.conftest import INFER, Server, release, until

TEXTS = ["the room was clean", "awful noisy hotel", "好", "", "a park " * 40, "\U0001f600 𠮷 \x00"]

NOT_SERVED = {
    *("accelerate", "boto3", "components", "datasets", "deepspeed", "kfp", "nncf", "pipelines"),
    *("scipy", "sklearn"),
}


def test_no_text_is_logged(server: Server) -> None:
    secret = "a-very-private-review"
    for body in (
        {"instances": [secret]},
        {"instances": [secret, None]},
        {"instances": {"text": secret}},
        {"instances": [{"text": secret, secret: 1}]},
    ):
        server.post(body)
        server.post(body, INFER)
    assert secret not in server.log.read_text()


def test_metrics_count_answers_labels_truncations_and_rejections(server: Server) -> None:
    def counts() -> list[float]:
        return [
            server.metric("finegate_requests_total", protocol="v1", outcome="answered"),
            server.metric("finegate_requests_total", protocol="v1", outcome="invalid"),
            server.metric("finegate_request_seconds_count", protocol="v1"),
            server.metric("finegate_queue_seconds_count"),
            server.metric("finegate_batch_texts_sum"),
            server.metric("finegate_batch_tokens_sum"),
            server.metric("finegate_truncated_texts_total", version="one"),
            server.metric("finegate_predicted_labels_total", version="one"),
            server.metric("finegate_confidence_count", version="one"),
        ]

    before = counts()
    server.post({"instances": TEXTS})
    server.post({"instances": []})
    added = [after - earlier for after, earlier in zip(counts(), before, strict=True)]
    assert added == [1, 1, 1, 1, len(TEXTS), 16 * 5 + 24, 1, len(TEXTS), len(TEXTS)]
    assert server.metric("finegate_model_info", version="one", backend="pytorch") == 1
    assert server.metric("finegate_waiting_texts") == 0


def imported(server: Server) -> set[str]:
    """Packages that a server imported, from the log that `-X importtime` makes."""
    lines = [line for line in server.log.read_text().splitlines() if line.startswith("import time")]
    return {line.rsplit("|", 1)[1].strip().split(".")[0] for line in lines}


def test_the_process_imports_what_it_runs_and_no_more(server: Server) -> None:
    server.post({"instances": ["us"]})
    found = imported(server)
    assert "torch" in found
    assert not found & {*NOT_SERVED, "openvino"}


@pytest.mark.parametrize("linked", [False, True])
def test_a_folder_for_openvino_is_served_without_torch_and_a_link_may_need_it_later(
    tiny_model: Path, tmp_path: Path, linked: bool
) -> None:
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    write_ir(Classifier.load(tiny_model), model)
    (model / SERVING).write_text(json.dumps({"backend": "openvino"}))
    folder = release(model, tmp_path / "one", "one")
    if linked:
        folder = tmp_path / "current"
        folder.symlink_to(tmp_path / "one")
    server = Server(folder, tmp_path, python=("-X", "importtime"))
    try:
        server.wait_for("one")
        expected = Classifier.load(tiny_model).classify(["us"]).max()
        [answer] = server.post({"instances": ["us"]}).json()["predictions"]
        assert answer["score"] == pytest.approx(expected, abs=1e-5)
        found = imported(server)
        shutil.rmtree(tmp_path / "one")
        release(tiny_model, tmp_path / "one", "two")  # to be served by PyTorch
        server.process.send_signal(signal.SIGHUP)
        if linked:
            server.wait_for("two")
        else:
            until(
                lambda: server.metric("finegate_reloads_total", outcome="failed") == 1, server.log
            )
            assert "began without PyTorch" in server.log.read_text()
            assert answering_version("hotels", server.port) == "one"
    finally:
        server.kill()
    assert "openvino" in found
    assert not found & NOT_SERVED
    assert ("torch" in found) == linked
