"""MLflow and BentoML, each in an environment of its own that is made once in the user's cache folder."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.http.servers import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "premia-benchmarks"
# With these two uvicorn, which both run on, takes its fast loop and parser.
FAST = ("uvloop==0.23.0", "httptools==0.9.0")
PEERS = {"mlflow": "mlflow==3.17.2", "bentoml": "bentoml==1.4.39"}
# What the stored model needs, as our own lock has it.
NEEDED = (
    "duckdb",
    "glum",
    "lightgbm",
    "matplotlib",
    "model-diagnostics",
    "numpy",
    "pandas",
    "psutil",
    "pyarrow",
    "rich",
    "scikit-learn",
    "scipy",
    "statsmodels",
)


class NoPeerError(Exception):
    """A peer cannot be installed here."""


def environment(peer: str) -> Path:
    """Give the environment of a peer; it is made when absent.

    Raises
    ------
    NoPeerError
        If it cannot be installed.
    """
    wanted = [PEERS[peer], *FAST, *_locked()]
    folder = CACHE / f"{peer}-{hashlib.sha256(repr(wanted).encode()).hexdigest()[:12]}"
    if not (folder / "ready").exists():
        uv = Path(sys.executable).with_name("uv")
        _run([uv, "venv", "--clear", "--python", sys.executable, folder])
        _run([uv, "pip", "install", "--python", folder / "bin" / "python", *wanted])
        (folder / "ready").touch()
    return folder


def _locked() -> list[str]:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pinned = [line.removesuffix("\\").strip() for line in lines if re.match(r"[a-z0-9]", line)]
    return [line for line in pinned if re.split(r"==", line)[0] in NEEDED]


def _run(command: Sequence[str | Path]) -> None:
    done = subprocess.run(  # noqa: S603 - our own commands
        [str(part) for part in command], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise NoPeerError(done.stderr.strip()[-400:])


def save_mlflow_model(environment: Path, bundle: Path, folder: Path) -> None:
    """Save the scoring function as an MLflow model, by the MLflow that serves it."""
    done = subprocess.run(  # noqa: S603 - our own commands
        [environment / "bin" / "python", ROOT / "benchmarks" / "http" / "mlflow_model.py", folder, bundle],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"mlflow: the model was not saved: {done.stderr[-2000:]}")


def mlflow_command(environment: Path, model: Path, port: int) -> tuple[list[str | Path], dict[str, str]]:
    """Give command and environment of `mlflow models serve`: one worker, no access log."""
    serve = [environment / "bin" / "mlflow", "models", "serve", "-m", model, "--env-manager", "local"]
    settings = {
        "PYTHONPATH": str(ROOT),
        "PATH": f"{environment / 'bin'}:{os.environ['PATH']}",
        "UVICORN_ACCESS_LOG": "false",
        "UVICORN_LOG_LEVEL": "warning",
    }
    return [*serve, "--workers", "1", "-p", str(port)], settings


def bento_command(environment: Path, bundle: Path, port: int) -> tuple[list[str | Path], dict[str, str]]:
    """Give command and environment of `bentoml serve`; workers, logs and metrics are set in the service."""
    serve = [environment / "bin" / "bentoml", "serve", "benchmarks.http.bento_service:Premium"]
    settings = {
        "PYTHONPATH": str(ROOT),
        "PREMIA_BENCH_BUNDLE": str(bundle),
        "BENTOML_DO_NOT_TRACK": "True",
    }
    return [*serve, "--host", "127.0.0.1", "-p", str(port)], settings
