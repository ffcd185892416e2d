"""What nobody would send: how the fuzz tests draw it, how much of it, and what bounds an answer.

The same cases each time; `pytest --hypothesis-profile=deep tests/serving/test_fuzz_*.py` draws ten
times as many at random.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from tests.serving.conftest import Server

SECONDS = 30
"""Bound of one answer, on a machine that does much else. Alone, 2 ms are usual; a million
characters take 2 s, as all of them are tokenized."""
SCALE = settings.default.max_examples / 100 if settings.default else 1


def cases(count: int) -> settings:
    """Draw so many, or ten times as many in the profile `deep`."""
    return settings(max_examples=int(count * SCALE), deadline=None)


@contextmanager
def unhurt(server: Server) -> Iterator[None]:
    """After all of it the server answers, nothing waits, and nothing failed inside."""
    yield
    assert server.post({"instances": ["us"]}).status_code == 200
    assert server.metric("finegate_waiting_texts") == 0
    assert server.metric("finegate_requests_total", outcome="failed") == 0
    assert "Traceback" not in server.log.read_text()


# Every plane, controls, and what JSON escapes can say and UTF-8 cannot.
CHARACTERS = st.characters() | st.integers(0, 0x10FFFF).map(chr)
TEXT = st.text(CHARACTERS, max_size=30) | st.sampled_from(["", "us", "\ud800", "\x00", "\ufeff"])
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | TEXT
    | st.sampled_from(["text", "text_pair", "BYTES", "FP32", 2**63, 2**70, -1, 1e999])
)
WORDS = (
    *("instances", "parameters", "text", "text_pair", "top_k", "raw_logits"),
    *("inputs", "outputs", "name", "shape", "datatype", "data", "id", "binary_data_size"),
)
NESTED = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(WORDS) | TEXT, inner, max_size=4)
    ),
    max_leaves=12,
)


def encoded(document: Any) -> bytes:
    """JSON in ASCII, so that lone surrogates can be sent, with NaN and Infinity as Python has."""
    return json.dumps(document).encode()


def some(**members: Any) -> Any:
    """Objects in which each member may be absent, or nonsense."""
    drawn = {name: value | NESTED for name, value in members.items()}
    return st.fixed_dictionaries({}, optional=drawn)


INSTANCE = TEXT | some(text=TEXT, text_pair=TEXT)
V1 = some(
    instances=st.lists(INSTANCE, max_size=4),
    parameters=some(top_k=st.integers(-1, 5), raw_logits=st.booleans()),
)
TENSOR = some(
    name=st.sampled_from(["text", "text_pair", "other"]),
    shape=st.lists(st.integers(-1, 3), max_size=3),
    datatype=st.sampled_from(["BYTES", "FP32", "bytes"]),
    data=st.lists(TEXT | st.lists(TEXT, max_size=2), max_size=3),
    parameters=some(binary_data_size=st.integers(-1, 40)),
)
OUTPUT = some(
    name=st.sampled_from(["label", "score", "probabilities", "logits", "top_labels", "nope"]),
    parameters=some(binary_data=st.booleans(), classification=st.integers()),
)
V2 = some(
    id=TEXT,
    inputs=st.lists(TENSOR, max_size=3),
    outputs=st.lists(OUTPUT, max_size=3),
    parameters=some(top_k=st.integers(-1, 5), binary_data_output=st.booleans()),
)
