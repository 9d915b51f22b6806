"""The figure that every picture is drawn on; it brings matplotlib along."""

from __future__ import annotations

from matplotlib.figure import Figure

from models.drawn import png


class Canvas(Figure):
    """A figure that a notebook shows as it stands, whether pyplot was ever imported or not."""

    def _repr_png_(self) -> bytes:
        return png(self)
