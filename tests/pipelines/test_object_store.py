"""The embedded store: started once, whoever asks for it."""

import json
import subprocess
import sys
from pathlib import Path

from pipelines import object_store

START = """
import json, sys
from pathlib import Path
from pipelines import object_store
print(json.dumps(object_store.start(Path(sys.argv[1]))))
"""


def test_commands_that_start_it_at_once_reach_the_same_store(tmp_path: Path) -> None:
    command = [sys.executable, "-c", START, str(tmp_path)]
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    try:
        ended = [process.communicate(timeout=120) for process in started]
        assert [process.returncode for process in started] == [0, 0, 0], ended
        first, *others = [json.loads(out) for out, _ in ended]
        assert others == [first, first]
        assert first == object_store.start(tmp_path)
    finally:
        assert object_store.stop(tmp_path)
    assert object_store.facts_if_running(tmp_path) is None
