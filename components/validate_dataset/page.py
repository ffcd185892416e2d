"""A validated dataset as one self-contained page."""

from pathlib import Path
from typing import Any

from components import pages


def page(facts: dict[str, Any], drift: dict[str, Any] | None) -> bytes:
    """The page for a manifest's facts and, where there is a champion, the drift document."""
    return pages.render(Path(__file__).parent / "dataset.html.j2", facts=facts, drift=drift)
