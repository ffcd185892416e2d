"""Install one extra's dependencies, pinned, into the virtual environment /opt/venv, and trim it.

Runs in an image's build stage, in the folder with pyproject.toml and constraints.txt:
`python3 install_extra.py EXTRA [TORCH cpu|cuda]`, where EXTRA may be several, as `data,mlflow`,
and the rest is for those that have torch. The build's secret `ca`, if given, is the CA bundle that
pip trusts, for networks whose proxy opens TLS; it does not enter the image. Our code is copied
later, so that a changed line of it leaves the layer with a gigabyte of libraries as it is.
"""

import compileall
import os
import py_compile
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

AUTHORITIES = Path("/run/secrets/ca")
VENV = Path("/opt/venv")
LIBRARIES = VENV / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"

# Headers, static libraries, linkers and tests: needed to build on the libraries, not to run them.
# numpy.testing, torch.testing and sklearn.utils._testing stay, which the libraries import.
UNUSED = (
    "torch/include",
    "torch/share",
    "torch/bin/protoc*",
    "torch/bin/test_*",
    "torch/bin/*Test",
    "torch/bin/*.pt*",
    "torch/test",
    "torch/lib/*.a",
    "torch/_inductor/kernel/vendored_templates",
    "numpy/_core/include",
    "pyarrow/include",
    "pyarrow/src",
    "pyarrow/tests",
    "openvino/include",
    "openvino/cmake",
    "**/*.a",
    "**/*.pyx",
    "**/*.pxd",
    "*/tests",
    "*/*/tests",
    "*/*/*/tests",
)


def requirements(extra: str) -> list[str]:
    """The project's dependencies and those of the extra or extras, `finegate[other]` resolved."""
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    found = list(project["dependencies"])
    extras = project["optional-dependencies"]
    for requirement in (each for name in extra.split(",") for each in extras[name]):
        own = re.fullmatch(r"finegate\[([\w,]+)\]", requirement)
        if own:
            found += requirements(own[1])
        else:
            found.append(requirement)
    return list(dict.fromkeys(found))


def trim() -> None:
    """Remove what only builders and testers of the libraries need."""
    for pattern in UNUSED:
        for path in sorted(LIBRARIES.glob(pattern)):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    # A fifth of libtorch is symbols that only a debugger reads.
    for library in sorted(LIBRARIES.glob("torch/lib/*.so")):
        subprocess.run(["strip", "--strip-unneeded", str(library)], check=True)


def check_build(python: Path, torch: str, accelerator: str) -> None:
    """End the build where the installed torch is for the other kind of machine."""
    probe = "import torch; print('cuda' if torch.version.cuda else 'cpu')"
    built = subprocess.run([python, "-c", probe], check=True, capture_output=True, text=True)
    if built.stdout.strip() != accelerator:
        raise SystemExit(
            f"{torch} is a {built.stdout.strip()} build, and this is the {accelerator} image. Lay "
            "the right wheel in docker/wheels, or give TORCH and PIP_EXTRA_INDEX_URL."
        )


def main() -> None:
    """Make the environment."""
    extra, *torch = sys.argv[1:]
    if AUTHORITIES.is_file():
        os.environ["PIP_CERT"] = str(AUTHORITIES)
    subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    # Debian's pip is older than some of the packages' metadata.
    subprocess.run([VENV / "bin" / "pip", "install", "--upgrade", "pip"], check=True)
    pip = [
        VENV / "bin" / "pip",
        "install",
        "--no-compile",
        "--disable-pip-version-check",
        "--constraint=constraints.txt",
        "--find-links=wheels",
    ]
    wanted = [*torch[:1], *(r for r in requirements(extra) if not r.startswith("torch=="))]
    deepspeed = [r for r in wanted if r.startswith("deepspeed")]
    subprocess.run([*pip, *(r for r in wanted if r not in deepspeed)], check=True)
    if deepspeed:  # a source distribution, whose build imports torch and these
        subprocess.run([*pip, "setuptools", "wheel", "ninja", "py-cpuinfo"], check=True)
        subprocess.run([*pip, "--no-build-isolation", *deepspeed], check=True)
    python = VENV / "bin" / "python"
    if torch:
        check_build(python, *torch)
    subprocess.run([python, "-m", "pip", "check"], check=True)
    subprocess.run([python, "-m", "pip", "uninstall", "-y", "-q", "pip"], check=True)
    trim()
    # The root filesystem is read-only: bytecode comes with the image, and does not look at times.
    # Of transformers' hundreds of models an image runs one: 0.1 s of compiling against 60 MB.
    compileall.compile_dir(
        LIBRARIES,
        rx=re.compile(r"/transformers/models/(?!auto/)"),
        quiet=2,
        workers=os.cpu_count() or 1,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )


if __name__ == "__main__":
    main()
