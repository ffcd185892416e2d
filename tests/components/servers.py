"""Small real servers for sources: files with Range and ETag as web servers have them, and a hub."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.http_servers import Handler

COMMIT = "b" * 40


class Quiet(Handler):
    """Answers HEAD as GET, without the body."""

    def do_HEAD(self) -> None:
        self.do_GET()


class Web(Quiet):
    """`content` at any path; /etag.* has an ETag, /plain.* nothing, /busy.* answers at the second
    try, /short.* promises more than it gives, /breaks.* has an ETag and breaks off half-way at
    first, /stalls.* falls silent there, /packed.* and /packed-breaks.* are as /etag.* and /breaks.*
    with a Content-Encoding of gzip, /zstd.* has one of its own, /absent.* is not there."""

    content: bytes
    requests: list[str]
    sent: list[int]
    """Bytes of each body."""

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        self.requests.append(f"{self.command} {path}")
        kind = path.strip("/").split(".")[0]
        first = self.requests.count(f"{self.command} {path}") == 1
        if kind == "absent":
            return self.send(404)
        if kind == "busy" and first:
            return self.send(503)
        if kind == "plain" and self.command == "HEAD":
            return self.send(405)
        headers = {}
        if kind == "zstd":
            headers["Content-Encoding"] = "zstd"
        if kind.startswith("packed"):
            headers["Content-Encoding"] = "gzip"
        if kind in ("etag", "breaks", "stalls", "packed", "packed-breaks"):
            headers["ETag"] = f'"{hash(self.content)}"'
        body, status = self.content, 200
        asked = self.headers.get("Range")
        if asked and self.headers.get("If-Range") == headers.get("ETag"):
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            body, status = body[start:], 206
            headers["Content-Range"] = f"bytes {start}-{len(self.content) - 1}/{len(self.content)}"
        if kind == "short" and self.command == "GET":
            headers["Content-Length"] = str(len(body) + 5)
        half = kind.endswith(("breaks", "stalls")) and self.command == "GET" and first
        if half:
            headers["Content-Length"] = str(len(body))
            body = body[: len(body) // 2]
        if self.command == "GET":
            self.sent.append(len(body))
        self.send(status, body, headers)
        if half and kind == "stalls":
            self.rfile.read(1)  # until the client leaves


class Hub(Quiet):
    """As much of the hub's API as a snapshot of a dataset or a model needs.

    `datasets` and `models` give the files of each id by name; a model's id may have `@refs/pr/N`.
    """

    datasets: dict[str, dict[str, bytes]]
    models: dict[str, dict[str, bytes]]

    def do_GET(self) -> None:
        path = self.path.split("?")[0].replace("%2F", "/")
        for kind, prefix, repositories in (
            ("datasets", "/datasets/", self.datasets),
            ("models", "/", self.models),
        ):
            for name, files in repositories.items():
                if "@" in name:
                    continue
                if path.startswith(f"{prefix}{name}/resolve/{COMMIT}/"):
                    return self._file(files, path.removeprefix(f"{prefix}{name}/resolve/{COMMIT}/"))
                if path == f"/api/{kind}/{name}" or path.startswith(f"/api/{kind}/{name}/"):
                    return self._api(name, path.removeprefix(f"/api/{kind}/{name}"), repositories)
        return self.send(404, b"", {"x-error-code": "RepoNotFound"})

    def _file(self, files: dict[str, bytes], name: str) -> None:
        headers = {"x-repo-commit": COMMIT, "etag": f'"{name}"'}
        if name not in files:
            headers["x-error-code"] = "EntryNotFound"
        self.send(200 if name in files else 404, files.get(name, b""), headers)

    def _api(self, name: str, rest: str, repositories: dict[str, dict[str, bytes]]) -> None:
        pulls = [key.split("@")[1] for key in repositories if key.startswith(f"{name}@")]
        files = repositories[name]
        for pull in pulls:
            if pull in rest:
                files = repositories[f"{name}@{pull}"]
                rest = rest.replace(pull, COMMIT)
        if rest == "/refs":
            named = [{"name": p, "ref": p, "targetCommit": COMMIT} for p in pulls]
            return self.send_json(
                {"branches": [], "converts": [], "tags": [], "pullRequests": named}
            )
        if rest.startswith("/tree/"):
            folder = rest.removeprefix("/tree/").partition("/")[2]
            entries = [
                {"type": "file", "path": path, "size": len(content), "oid": path}
                for path, content in files.items()
                if path.startswith(folder)
            ]
            folders = {path.split("/")[0] for path in files if "/" in path and not folder}
            listed = [{"type": "directory", "path": each, "oid": each} for each in sorted(folders)]
            return self.send_json(entries + listed)
        siblings = [{"rfilename": path} for path in files]
        return self.send_json({"id": name, "sha": COMMIT, "siblings": siblings})


def with_hub(step: str, settings: dict[str, Any], endpoint: str, store: str, home: Path) -> str:
    """The last line of a download step in a process of its own: HF_ENDPOINT is read at import."""
    noun = step.removeprefix("download_")
    code = (
        "import json, sys\n"
        "from components.console import step\n"
        f"from components.{step}.{noun} import download\n"
        f"from components.{step}.settings import {noun.title()}Settings as Settings\n"
        f"with step('{step}'):\n"
        "    print(download(sys.argv[1], Settings.model_validate(json.loads(sys.argv[2]))))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, store, json.dumps(settings)],
        env={**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return ended.stdout.strip().splitlines()[-1] if ended.stdout else ended.stderr
