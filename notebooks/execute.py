"""Execute every notebook in a folder of its own; fail when one fails or when none was executed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import jupytext
from nbformat.v4 import new_code_cell

HERE = Path(__file__).parent
LIMIT_SECONDS = 600


def convert(script: Path, target: Path) -> None:
    """Write a script as a notebook; one whose data is not on this machine says so and ends there."""
    notebook = jupytext.read(script)
    needs = notebook.metadata.get("premia", {}).get("needs")
    if needs and not os.environ.get(needs):
        sentence = f"{script.name} needs real tables: {needs} must name the folder that holds them."
        sys.stderr.write(sentence + "\n")
        notebook.cells = [new_code_cell(f"print({sentence!r})")]
    jupytext.write(notebook, target)


def main() -> int:
    """Convert the percent scripts to notebooks and let nbmake execute them."""
    scripts = sorted(HERE.glob("[0-9][0-9]_*.py"))
    if not scripts:
        sys.stderr.write("no notebook found; there must be at least one\n")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        for script in scripts:
            convert(script, Path(folder) / f"{script.stem}.ipynb")
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "--nbmake", f"--nbmake-timeout={LIMIT_SECONDS}"]
        command += [
            "-p",
            "no:cacheprovider",
            "-W",
            "default",
            "-o",
            "addopts=",
            f"--junitxml={report}",
            folder,
        ]
        done = subprocess.run(command, cwd=HERE.parent, check=False)  # noqa: S603 - our own interpreter
        executed = report.read_text(encoding="utf-8").count("<testcase ")
    if executed != len(scripts):
        sys.stderr.write(f"{executed} notebooks were executed, {len(scripts)} exist\n")
        return 1
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
