"""A predictor process to load: the real server on a BERT of random weights, and texts for it."""

import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import torch
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from prometheus_client.parser import text_string_to_metric_families
from transformers import AutoConfig, AutoModelForSequenceClassification, BertTokenizer

from components.export_model.openvino_export import write_ir
from components.processes import free_ports
from serving.classifier import Classifier
from serving.settings import SERVING

NAME = "bench"
WORDS = [f"w{number}" for number in range(2000)]


def save_model(folder: Path, layers: int = 6, width: int = 384) -> None:
    """A BERT classifier of three labels, served by OpenVINO in fp32.

    Its speed does not depend on what its weights are.
    """
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    tokenizer = BertTokenizer(str(folder / "vocab.txt"))
    tokenizer.model_max_length = 128
    tokenizer.save_pretrained(folder)
    config = AutoConfig.for_model(
        "bert",
        vocab_size=len(vocabulary),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        intermediate_size=4 * width,
        max_position_embeddings=128,
        id2label={0: "negative", 1: "neutral", 2: "positive"},
    )
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    write_ir(Classifier.load(folder), folder)
    (folder / SERVING).write_text(json.dumps({"backend": "openvino"}))


def bodies(count: int, texts: int, seed: int = 0) -> Iterator[bytes]:
    """V1 bodies of `texts` texts of 10 to 60 tokens each."""
    chance = random.Random(seed)
    return (
        json.dumps({"instances": [_text(chance) for _ in range(texts)]}).encode()
        for _ in range(count)
    )


def _text(chance: random.Random) -> str:
    return " ".join(chance.choices(WORDS, k=chance.randint(8, 58)))


def grpc_request(text: str) -> pb.ModelInferRequest:
    """A request over gRPC for one text."""
    contents = pb.InferTensorContents(bytes_contents=[text.encode()])
    tensor = pb.ModelInferRequest.InferInputTensor(
        name="text", datatype="BYTES", shape=[1], contents=contents
    )
    return pb.ModelInferRequest(model_name=NAME, inputs=[tensor])


@dataclass(frozen=True)
class Endpoint:
    """A predictor that answers at 127.0.0.1:`port`."""

    port: int
    grpc_port: int
    """0 without gRPC."""
    process: subprocess.Popen[bytes]

    @property
    def path(self) -> str:
        return f"/v1/models/{NAME}:predict"

    def rss(self) -> int:
        """Resident memory in bytes."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def metric(self, name: str) -> float:
        """A sample's value, summed over its labels."""
        page = httpx.get(f"http://127.0.0.1:{self.port}/metrics", timeout=60).text
        return sum(
            sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
            if sample.name == name
        )


@contextmanager
def serving(model: Path, *options: str, rpc: bool = False) -> Iterator[Endpoint]:
    """Start the server, with gRPC if asked, and wait until it answers; ends it on leaving."""
    port, grpc_port = free_ports(2)
    if not rpc:
        grpc_port = 0
    command = [
        *(sys.executable, "-m", "serving", "--model-name", NAME, "--model-dir", str(model)),
        *("--host", "127.0.0.1", "--http-port", str(port)),
        *("--grpc-port", str(grpc_port), *options),
    ]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            _wait(port, process)
            yield Endpoint(port, grpc_port, process)
        finally:
            process.kill()
            process.wait()


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while True:
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("the server did not start; run its command by hand")
        try:
            if httpx.get(f"http://127.0.0.1:{port}/v2/health/ready").status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
