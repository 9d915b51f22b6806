"""Results that draw themselves, and show their picture at the end of a notebook's cell."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Drawn:
    """A result with a picture.

    Its `figure` gives the picture as a `Figure`; units and the like may be given to it.
    """

    figure: Any

    def _repr_png_(self) -> bytes:
        return png(self.figure())


def png(figure: Figure) -> bytes:
    """Give a figure as the bytes of a PNG."""
    content = BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()
