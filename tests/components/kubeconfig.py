"""A kubeconfig that leads to a server of the tests."""

from pathlib import Path

import yaml


def write(path: Path, server: str) -> Path:
    """Write it; returns its path, for KUBECONFIG."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "x",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": "secret"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
    }
    path.write_text(yaml.safe_dump(document))
    return path
