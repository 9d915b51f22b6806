import io

import pytest
import typer
from rich.console import Console

from serving.console import refusals


def test_a_missing_file_is_named_without_the_number_of_the_operating_system(tmp_path):
    shown = io.StringIO()
    with pytest.raises(typer.Exit), refusals(Console(file=shown, width=400)):
        (tmp_path / "demand.json").read_text(encoding="utf-8")
    assert f"there is no file {tmp_path / 'demand.json'}. Hint: " in shown.getvalue()
    assert "Errno" not in shown.getvalue()
