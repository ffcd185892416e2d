"""What the steps print, shown to a person: bars on a terminal, plain lines elsewhere."""

import io
import re
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from components.console import ERROR_MARK, TRACEBACK_MARK

STEPS = (
    "download_dataset",
    "download_model",
    "validate_dataset",
    "tokenize_dataset",
    "finetune_model",
    "export_model",
    "evaluate_model",
    "gate_model",
    "report_run",
    "promote_model",
)
_LINE = re.compile(rf"({'|'.join((*STEPS, 'tracking'))}): (.*)")
_PROGRESS = re.compile(r"(?P<stage>.+) (?P<done>\d+)/(?P<total>\d+) \(\d+ %\)(?:, (?P<note>.*))?")


class StepOutput(io.TextIOBase):
    """Stands in for stdout while the pipeline runs: keeps every line in `log`, shows the steps'.

    What the libraries print stays in the log. An error paragraph of a step is kept in `error`.
    """

    def __init__(self, log: Path, console: Console, *, tracebacks: bool) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log.open("a", encoding="utf-8")
        self.error: str | None = None
        self._console = console
        self._tracebacks = tracebacks
        self._rest = ""
        self._bars: dict[tuple[str, str], TaskID] = {}
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> "StepOutput":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
        self.log.close()

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._take(line)
        return len(text)

    def flush(self) -> None:
        self.log.flush()

    def _take(self, line: str) -> None:
        self.log.write(line + "\n")
        self.log.flush()
        line = line.strip()  # kfp indents what a step prints
        if line.startswith(ERROR_MARK):
            self.error = self.error or line.removeprefix(ERROR_MARK)
        elif line.startswith(TRACEBACK_MARK):
            if self._tracebacks:
                self._print(line.removeprefix(TRACEBACK_MARK))
        elif matched := _LINE.fullmatch(line):
            self._show(matched[1], matched[2], line)

    def _show(self, step: str, message: str, line: str) -> None:
        count = _PROGRESS.fullmatch(message)
        if count is None or not self._console.is_terminal:
            self._print(line)
            return
        key = (step, count["stage"])
        total, done = int(count["total"]), int(count["done"])
        if key not in self._bars:
            name = f"{step}: {count['stage']}"
            self._bars[key] = self._progress.add_task(name, total=total, note="")
        self._progress.update(self._bars[key], completed=done, note=count["note"] or "")

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)
