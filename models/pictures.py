"""Pictures of a training: the diagnostics of its families on the test rows, as files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from models.comparison import NULL
from models.diagnostics.lift_chart import lift
from models.diagnostics.lorenz_curve import lorenz
from models.diagnostics.one_way_table import OneWay, one_way

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from models.judged import Judged

# One-way pictures are drawn for this many inputs, those over which the expected cost varies most.
ONE_WAYS = 6


def draw_pictures(judged: Judged, folder: Path) -> list[Path]:
    """Write `lorenz.png`, `lift.png` and one `one_way_<input>.png` per strong input.

    Parameters
    ----------
    judged
        Test rows with what each family says of them.
    folder
        Made when absent.

    Returns
    -------
    list of Path
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    expected = families(judged)
    figures = {
        "lorenz": lorenz(judged.actual, expected, judged.exposure).figure(),
        "lift": lift(judged.actual, expected, judged.exposure, objective="tweedie").figure(),
    }
    figures |= {f"one_way_{found.factor}": found.figure() for found in strongest(judged)}
    paths = []
    for name, figure in figures.items():
        paths.append(folder / f"{name}.png")
        # Without the software stamp, equal pictures are equal files.
        figure.savefig(paths[-1], dpi=110, metadata={"Software": None})
    return paths


def families(judged: Judged) -> dict[str, NDArray[np.float64]]:
    """Give the expected cost of each family but the null model."""
    return {family: expected for family, expected in judged.expected.items() if family != NULL}


def strongest(judged: Judged) -> list[OneWay]:
    """Compare along the inputs over which the expected cost of the last family varies most."""
    expected = families(judged)
    found = [
        one_way(judged.actual, expected, judged.exposure, judged.matrix[:, k], name=name, objective="tweedie")
        for k, name in enumerate(judged.inputs)
    ]
    last = f"{list(expected)[-1]}.rate"
    spread = [
        np.average((o.frame[last] - o.frame[last].mean()) ** 2, weights=o.frame["exposure"]) for o in found
    ]
    return [found[k] for k in sorted(range(len(found)), key=lambda k: (-spread[k], k))[:ONE_WAYS]]
