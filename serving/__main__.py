"""Serve one release: `python -m serving --model-dir DIR --model-name NAME`."""

import argparse
import logging
import os
import socket
import sys
from pathlib import Path


def main() -> None:
    """Load the release and serve it until SIGTERM; SIGHUP loads what DIR points to anew."""
    given = options(sys.argv[1:])
    # Before torch is imported: OpenMP reads it once.
    from serving.cores import available_cores

    threads = given.threads or available_cores()
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")

    from serving.errors import InputError

    try:
        for port in filter(None, (given.http_port, given.grpc_port)):
            _check_free(given.host, port)
        if not given.model_dir.is_dir():
            raise InputError(
                f"there is no folder {given.model_dir}. Give --model-dir the folder of a release."
            )
        import torch
        from transformers.utils import logging as transformers_logging

        from serving.predictor import Predictor
        from serving.server import PredictorServer

        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        torch.set_num_threads(threads)
        predictor = Predictor(given.model_name, given.model_dir, given.max_waiting)
        server = PredictorServer(
            predictor,
            host=given.host,
            http_port=given.http_port,
            grpc_port=given.grpc_port,
        )
    except InputError as error:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        raise SystemExit(1) from error
    server.start([predictor])


def options(arguments: list[str]) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(prog="python -m serving", description=__doc__)
    parser.add_argument("--model-dir", type=Path, required=True, help="release folder, or a link")
    parser.add_argument("--model-name", required=True)
    parser.add_argument("--host", default="0.0.0.0", help="address to bind")
    parser.add_argument("--http-port", type=int, default=8080)
    parser.add_argument("--grpc-port", type=int, default=8081, help="0 leaves gRPC out")
    parser.add_argument("--threads", type=int, default=0, help="0: the cores of the container")
    parser.add_argument(
        "--max-waiting", type=int, default=2048, help="texts that may wait; more answer 503"
    )
    return parser.parse_args(arguments)


def _check_free(host: str, port: int) -> None:
    from serving.errors import InputError

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise InputError(
                f"port {port} of {host} cannot be bound ({error.strerror}). Choose another with "
                "--http-port or --grpc-port, or stop what uses it."
            ) from error


if __name__ == "__main__":
    main()
