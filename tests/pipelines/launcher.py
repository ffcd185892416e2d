"""A stand-in for KFP's cluster: runs the compiled IR task by task, as its launcher would.

Each task is a fresh process, started by the very command of the IR in an empty folder that is
deleted afterwards. It is told its inputs and outputs by an executor-input JSON whose artifacts
have S3 addresses under a pipeline root; what it leaves is uploaded there. Nothing is handed from
task to task but what the executor's output files say.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from components import storage

Values = dict[str, Any]


@dataclass
class Execution:
    """One task as it went."""

    task: str
    inputs: Values
    outputs: Values
    artifacts: dict[str, str]
    """S3 address of each artifact that the task left."""


@dataclass
class Cluster:
    """Runs one compiled pipeline."""

    compiled: Path
    pipeline_root: str
    """`s3://bucket/prefix` for artifacts."""
    job: str
    """KFP's id of the run."""
    environment: dict[str, str]
    """What a pod would be given: the store's address and credentials."""
    executions: list[Execution] = field(default_factory=list)

    def run(self, arguments: Values) -> Values:
        """Run the pipeline; returns its output parameters. Raises AssertionError on a failure."""
        self._ir: Values = next(yaml.safe_load_all(self.compiled.read_text()))
        root = self._ir["root"]
        given = dict(arguments)
        for name, definition in root["inputDefinitions"]["parameters"].items():
            if name not in given:
                given[name] = definition["defaultValue"]
        return self._run_dag(root["dag"], given)

    def _run_dag(self, dag: Values, given: Values) -> Values:
        waiting = dict(dag["tasks"])
        produced: dict[str, Values] = {}
        while waiting:
            ready = [
                name
                for name, task in waiting.items()
                if set(task.get("dependentTasks", [])) <= set(produced)
            ]
            assert ready, f"the graph has a cycle among {sorted(waiting)}"
            for name in ready:
                produced[name] = self._run_task(name, waiting.pop(name), given, produced)
        outputs = {}
        for name, output in dag.get("outputs", {}).get("parameters", {}).items():
            source = output["valueFromParameter"]
            outputs[name] = produced[source["producerSubtask"]][source["outputParameterKey"]]
        return outputs

    def _run_task(
        self, name: str, task: Values, given: Values, produced: dict[str, Values]
    ) -> Values:
        inputs = {
            key: self._value(source, given, produced)
            for key, source in task.get("inputs", {}).get("parameters", {}).items()
        }
        condition = task.get("triggerPolicy", {}).get("condition")
        if condition is not None and not _holds(condition, inputs):
            return {}
        component = self._ir["components"][task["componentRef"]["name"]]
        if "dag" in component:
            return self._run_dag(component["dag"], inputs)
        return self._execute(name, component, inputs)

    def _value(self, source: Values, given: Values, produced: dict[str, Values]) -> Any:
        if "componentInputParameter" in source:
            return given[source["componentInputParameter"]]
        if "taskOutputParameter" in source:
            output = source["taskOutputParameter"]
            return produced[output["producerTask"]][output["outputParameterKey"]]
        if "taskFinalStatus" in source:  # as the cluster's driver fills it in: no error
            task = source["taskFinalStatus"]["producerTask"]
            return {"state": "COMPLETE", "pipelineTaskName": task, "error": {}}
        constant = source["runtimeValue"]["constant"]
        return self.job if constant == "{{$.pipeline_job_uuid}}" else constant

    def _execute(self, name: str, component: Values, given: Values) -> Values:
        # The rest are the pod's resources, which the driver reads and no step sees.
        inputs = {key: given[key] for key in component["inputDefinitions"]["parameters"]}
        container = self._ir["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
        home = Path(tempfile.mkdtemp(prefix=f"task-{name}-"))
        try:
            request = self._executor_input(name, component, inputs, home)
            arguments = [a.replace("{{$}}", json.dumps(request)) for a in container["args"]]
            ended = self.start(container["image"], [*container["command"], *arguments], home)
            assert ended.returncode == 0, f"{name} failed\n{ended.stdout}\n{ended.stderr}"
            execution = self._collect(name, component, inputs, request, home)
            self.executions.append(execution)
            return execution.outputs
        finally:
            shutil.rmtree(home)

    def start(self, image: str, command: list[str], home: Path) -> subprocess.CompletedProcess[str]:
        """Run the task's command; it may write below `home` and nowhere else."""
        # The launcher mounts an emptyDir at /s3; a test may not write to the root of the machine.
        (_made(home / "site") / "sitecustomize.py").write_text(
            "import kfp.dsl.types.artifact_types as types\n"
            f"types._S3_LOCAL_MOUNT_PREFIX = {str(home / 's3') + '/'!r}\n"
        )
        here = Path(__file__).parent.parent.parent
        variables = {
            "PATH": f"{Path(sys.executable).parent}:{os.defpath}",
            "PYTHONPATH": f"{home / 'site'}:{here}",
            "HOME": str(_made(home / "home")),
            "TMPDIR": str(_made(home / "tmp")),
        }
        return subprocess.run(
            command,
            cwd=_made(home / "work"),
            env={**self.environment, **variables},
            capture_output=True,
            text=True,
            timeout=500,
        )

    def _executor_input(self, name: str, component: Values, inputs: Values, home: Path) -> Values:
        declared = component.get("outputDefinitions", {})
        return {
            "inputs": {"parameterValues": inputs},
            "outputs": {
                "parameters": {
                    key: {"outputFile": str(home / "outputs" / key)}
                    for key in declared.get("parameters", {})
                },
                "artifacts": {
                    key: {
                        "artifacts": [
                            {
                                "name": key,
                                "type": definition["artifactType"],
                                "uri": f"{self.pipeline_root}/{self.job}/{name}/{key}",
                            }
                        ]
                    }
                    for key, definition in declared.get("artifacts", {}).items()
                },
                "outputFile": str(home / "outputs" / "executor_output.json"),
            },
        }

    def _collect(
        self, name: str, component: Values, inputs: Values, request: Values, home: Path
    ) -> Execution:
        written = home / "outputs" / "executor_output.json"
        said: Values = json.loads(written.read_text()) if written.is_file() else {}
        outputs = dict(said.get("parameterValues", {}))
        for key in component.get("outputDefinitions", {}).get("parameters", {}):
            file = home / "outputs" / key
            if key not in outputs:
                outputs[key] = file.read_text()
        artifacts = {}
        for key, wanted in request["outputs"]["artifacts"].items():
            uri = wanted["artifacts"][0]["uri"]
            file = home / "s3" / uri.removeprefix("s3://")
            if file.is_file():
                storage.write_bytes(uri, file.read_bytes(), "application/octet-stream")
                artifacts[key] = uri
        return Execution(name, inputs, outputs, artifacts)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _holds(condition: str, inputs: Values) -> bool:
    """Evaluate the one form of condition that finegate's graph has: a string (un)equal to another.

    `inputs.parameter_values['x'] != 'rejected'`, in the IR's subset of CEL.
    """
    left, operator, right = condition.partition(" != ")
    assert operator, f"no such condition is known: {condition}"
    name = left.removeprefix("inputs.parameter_values['").removesuffix("']")
    return bool(inputs[name] != right.strip("'"))
