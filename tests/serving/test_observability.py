"""What operators see of the process: metrics, the log, what it imports."""

from tests.serving.conftest import INFER, Server

TEXTS = ["the room was clean", "awful noisy hotel", "好", "", "a park " * 40, "\U0001f600 𠮷 \x00"]


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
            server.metric("finegate_truncated_texts_total", version="one"),
            server.metric("finegate_predicted_labels_total", version="one"),
            server.metric("finegate_confidence_count", version="one"),
        ]

    before = counts()
    server.post({"instances": TEXTS})
    server.post({"instances": []})
    added = [after - earlier for after, earlier in zip(counts(), before, strict=True)]
    assert added == [1, 1, 1, 1, len(TEXTS), 1, len(TEXTS), len(TEXTS)]
    assert server.metric("finegate_model_info", version="one", backend="pytorch") == 1
    assert server.metric("finegate_waiting_texts") == 0


def test_the_process_imports_no_training_or_pipeline_library(server: Server) -> None:
    server.post({"instances": ["us"]})
    lines = [line for line in server.log.read_text().splitlines() if line.startswith("import time")]
    imported = {line.rsplit("|", 1)[1].strip().split(".")[0] for line in lines}
    assert "torch" in imported
    assert not imported & {
        "kfp",
        "deepspeed",
        "datasets",
        "sklearn",
        "scipy",
        "accelerate",
        "boto3",
    }
