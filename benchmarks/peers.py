"""The servers that finegate's predictor is measured against: `python -m benchmarks.peers NAME`."""

import argparse
import asyncio
import functools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.measuring import seconds as seconds_of

MODEL = "bench"


def kserve_peer(folder: Path, port: int) -> None:
    """A transformers model behind a plain kserve Model: one forward a request, on the event loop.

    That is how the stock runtime serves a classifier; it stands for it here.
    """
    import torch
    from kserve import Model, ModelServer
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    class Peer(Model):
        def __init__(self) -> None:
            super().__init__(MODEL)
            self.tokenizer = AutoTokenizer.from_pretrained(folder)
            self.model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
            self.ready = True

        async def predict(self, payload: Any, headers: Any = None, **_: Any) -> dict[str, Any]:
            inputs = self.tokenizer(
                payload["instances"], padding=True, truncation=True, return_tensors="pt"
            )
            with torch.inference_mode():
                scores = torch.softmax(self.model(**inputs).logits, dim=-1)
            return {"predictions": scores.tolist()}

    ModelServer(http_port=port, enable_grpc=False).start([Peer()])


def litserve_peer(folder: Path, port: int, threads: int) -> None:
    """LitServe with finegate's own classifier and LitServe's batching."""
    from litserve import LitServer

    from benchmarks.litserve_peer import Peer

    # The best of the timeouts 0, 2, 5 and 20 ms that were tried.
    api = Peer(folder, threads, max_batch_size=32, batch_timeout=0.005)
    server = LitServer(api, accelerator="cpu", track_requests=False)
    server.run(
        host="127.0.0.1", port=port, log_level="warning", generate_client_file=False,
        pretty_logs=False,
    )  # fmt: skip


def no_server(
    folder: Path, texts: list[str], threads: int, seconds: float, in_hand: int = 0
) -> float:
    """Texts a second of a backend without a server, tokenizing included: the mean over `seconds`.

    At 0 those of length-sorted batches, the most that the backend can do. At another number those
    of a loop that has so many texts `in_hand`: each lane takes its part of them as they come, and
    the next when it has done those. The classifier stays in the process for the next call.
    """
    classifier = _classifier(folder, threads)
    lanes = classifier.backend.lanes

    def sorted_batches() -> None:
        rows = sorted(classifier.encoder.encode(texts), key=len)
        for start in range(0, len(rows), 32):
            inputs = classifier.pad(rows[start : start + 32])
            classifier.probabilities(classifier.backend.logits(inputs))

    def in_lanes() -> None:
        size = max(1, in_hand // lanes)

        def work(lane: int) -> None:
            for start in range(lane * size, len(texts), lanes * size):
                rows = classifier.encoder.encode(texts[start : start + size])
                logits = classifier.logits(rows, lane if lanes > 1 else None)
                classifier.probabilities(logits)

        with ThreadPoolExecutor(lanes) as pool:
            list(pool.map(work, range(lanes)))

    loops: list[Callable[[], object]] = [sorted_batches, partial(classifier.classify, texts)]
    # The first calls make kernels for their shapes, and are not counted.
    loop = in_lanes if in_hand else min(loops, key=seconds_of)
    loop()
    calls, began = 0, time.perf_counter()
    while (taken := time.perf_counter() - began) < seconds:
        loop()
        calls += 1
    return len(texts) * calls / taken


@functools.cache
def _classifier(folder: Path, threads: int) -> Any:
    from serving.classifier import Classifier

    classifier = Classifier.load(folder, threads)
    classifier.warm_up()
    return classifier


def main() -> None:
    """Serve one peer until it is killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=("kserve", "litserve"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("threads", type=int)
    given = parser.parse_args()
    if given.name == "kserve":
        import torch

        torch.set_num_threads(given.threads)
        kserve_peer(given.folder, given.port)
    else:
        litserve_peer(given.folder, given.port, given.threads)


if __name__ == "__main__":
    asyncio.set_event_loop_policy(None)
    main()
