"""Serve one release: `python -m serving --model-dir DIR --model-name NAME`."""

import argparse
import contextlib
import ctypes
import faulthandler
import gc
import logging
import math
import os
import signal
import sys
from functools import partial
from pathlib import Path

from serving.cores import available_cores
from serving.errors import InputError
from serving.listener import bound
from serving.settings import OPENVINO, serving_settings

# The predictor's image has none of these. A development environment has them all, and
# transformers imports what it finds: time and memory for what serving does not use.
TRAINING_LIBRARIES = ("accelerate", "boto3", "datasets", "deepspeed", "scipy", "sklearn")

ARENAS = 4
"""Of malloc, for each thread of the forward pass. One pass allocates on several threads, and those
that share an arena wait for each other, which a text alone feels most."""

_M_ARENA_MAX = -8  # malloc.h


def main() -> None:
    """Load the release and serve it until SIGTERM; SIGHUP loads what DIR points to anew."""
    # A promotion may send it while the first release is loading; its default is to kill.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    # Until the server drains on them. The kernel drops a container's SIGTERM that nobody handles.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    faulthandler.enable()  # a crash in native code leaves its stack in the log
    given = options(sys.argv[1:])
    threads = given.threads or available_cores()
    limit_arenas(ARENAS * threads)
    os.environ["OMP_NUM_THREADS"] = str(threads)  # OpenMP reads it once, when torch is imported
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _leave_out(*TRAINING_LIBRARIES)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    try:
        _serve(given, threads)
    except InputError as error:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        raise SystemExit(1) from error


def limit_arenas(arenas: int) -> None:
    """Let malloc have so many arenas at most, where it is glibc's (mallopt(3), M_ARENA_MAX).

    Its default is 8 for each core of the node. A reload ends threads and begins others, and memory
    that was freed in one arena is of no use to a thread of another.
    """
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, arenas)


def needs_torch(model_dir: Path) -> bool:
    """Whether PyTorch serves the release, or may serve one that a link points to later.

    It is the largest import, in time as in memory.
    """
    return model_dir.is_symlink() or serving_settings(model_dir).backend not in OPENVINO


def _leave_out(*packages: str) -> None:
    """Have imports not find these packages, which transformers takes for not installed."""
    sys.modules.update(dict.fromkeys(packages))  # type: ignore[arg-type]  # None marks a module absent


def _end(*_: object) -> None:
    """End at once: nothing was accepted yet, and what is loading could catch an exception."""
    os._exit(0)


def _serve(given: argparse.Namespace, threads: int) -> None:
    if not given.model_dir.is_dir():
        raise InputError(
            f"there is no folder {given.model_dir}. Give --model-dir the folder of a release."
        )
    with bound(given.host, given.http_port, "--http-port") as listener:
        if given.grpc_port:
            bound(given.host, given.grpc_port, "--grpc-port").close()
        if not needs_torch(given.model_dir):
            os.environ["TRANSFORMERS_NO_ADVISORY_WARNINGS"] = "1"  # it would advise to install it
            _leave_out("torch")
        from transformers.utils import logging as transformers_logging

        from serving.predictor import Predictor
        from serving.server import PredictorServer

        transformers_logging.disable_progress_bar()
        # What the libraries made stays for good, and every thread stands still while a full
        # collection looks through it.
        gc.collect()
        gc.freeze()
        predictor = Predictor(
            given.model_name, given.model_dir, given.max_queue, threads, max_wait=given.max_wait
        )
        server = PredictorServer(listener=listener, host=given.host, grpc_port=given.grpc_port)
        server.start([predictor])


def options(arguments: list[str]) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(prog="python -m serving", description=__doc__)
    parser.add_argument("--model-dir", type=Path, required=True, help="release folder, or a link")
    parser.add_argument("--model-name", required=True)
    parser.add_argument("--host", default="0.0.0.0", help="address to bind")
    parser.add_argument("--http-port", type=_port, default=8080)
    parser.add_argument("--grpc-port", type=_port, default=8081, help="0 leaves gRPC out")
    parser.add_argument(
        "--threads", type=partial(_whole, 0), default=0, help="0: the cores of the container"
    )
    parser.add_argument(
        "--max-queue",
        type=partial(_whole, 1),
        default=2048,
        help="texts that may wait; more are answered 503",
    )
    parser.add_argument(
        "--max-wait",
        type=_seconds,
        default=5.0,
        help="seconds that a request may wait for its turn; beyond that it is answered 503",
    )
    return parser.parse_args(arguments)


def _whole(least: int, text: str) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from {least} on")
    return int(text)


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port, 0 to 65535")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not seconds > 0:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds above 0")
    return seconds


if __name__ == "__main__":
    main()
