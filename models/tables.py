"""A model as a sum of one- and two-way tables: scores and exact reasons are look-ups.

The raw score of a risk is `intercept + sum of one-way cells + sum of two-way cells`, added in a fixed order,
so that one row in plain Python and a million rows in numpy give the same bits.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc

from models.errors import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from models.links import Link

# Rows at a time, so that cells and sums stay in the processor's cache.
CHUNK = 8192
# Most buckets of a grid; beyond, edges are searched.
BUCKETS = 1 << 16
FORMAT = "premia-tables-1"


@dataclass(frozen=True, eq=False)
class Grid:
    """Buckets of like width with at most one edge in each: a cell by look-up and one comparison.

    The bucket of a value is computed by the same rounded steps as the bucket of an edge, and these never fall
    as the value rises, so the cell is that of a search, bit for bit.

    Attributes
    ----------
    low, high
        Lowest and highest edge.
    scale
        Buckets per unit.
    below
        Edges in lower buckets, shape (buckets,).
    edge
        The edge within, infinite where there is none, shape (buckets,).
    """

    low: float
    high: float
    scale: float
    below: NDArray[np.int64]
    edge: NDArray[np.float64]

    @classmethod
    def of(cls, edges: NDArray[np.float64]) -> Grid | None:
        """Build the grid of ascending edges; None where they are too few, or too close for their range."""
        if not len(edges):
            return None
        low, high = float(edges[0]), float(edges[-1])
        with np.errstate(over="ignore", divide="ignore"):
            scale = 1.01 / float(np.diff(edges).min()) if len(edges) > 1 else 1.0
            if not (high - low) * scale < BUCKETS:
                return None
        bucket = ((edges - low) * scale).astype(np.int64)
        if (np.diff(bucket) <= 0).any():
            return None
        edge = np.full(bucket[-1] + 1, np.inf)
        edge[bucket] = edges
        return cls(low, high, scale, np.searchsorted(bucket, np.arange(len(edge))), edge)

    def locate(self, column: NDArray[np.float64], lost: int) -> NDArray[np.int64]:
        """Give the number of edges below each value, shape (n,); `lost` for NaN."""
        held = np.clip(column, self.low, self.high)
        held -= self.low
        held *= self.scale
        absent = np.isnan(held)
        some = bool(absent.any())
        if some:
            held[absent] = 0.0
        bucket = held.astype(np.int64)
        cell = self.below.take(bucket)
        cell += column > self.edge.take(bucket)
        if some:
            cell[absent] = lost
        return cell


@dataclass(frozen=True, eq=False)
class Axis:
    """How the values of one input fall into cells.

    Attributes
    ----------
    edges
        Upper cell bounds, included, ascending, shape (k,); cells 0..k by value, cell k+1 for "not known".
        `None` for categories.
    levels
        Number of levels of a category; cell `levels` takes every other code. Zero for numbers.
    """

    edges: NDArray[np.float64] | None
    levels: int = 0

    @property
    def cells(self) -> int:
        """Number of cells."""
        return self.levels + 1 if self.edges is None else len(self.edges) + 2

    @cached_property
    def _search(self) -> NDArray[np.float64]:
        # NaN sorts behind infinity, so one search also finds the cell "not known".
        return np.append(np.empty(0) if self.edges is None else self.edges, np.inf)

    @cached_property
    def _grid(self) -> Grid | None:
        return None if self.edges is None else Grid.of(self.edges)

    def locate(self, column: NDArray[np.float64]) -> NDArray[np.int64]:
        """Give the cell of each value, shape (n,)."""
        if len(column) > 4 * CHUNK:  # piece by piece, within the cache
            out = np.empty(len(column), dtype=np.int64)
            for start in range(0, len(column), CHUNK):
                out[start : start + CHUNK] = self.locate(column[start : start + CHUNK])
            return out
        if self.edges is not None:
            if self._grid is not None:
                return self._grid.locate(column, len(self.edges) + 1)
            return np.searchsorted(self._search, column)
        with np.errstate(invalid="ignore"):
            codes = column.astype(np.int64)
        # Seen as unsigned, negative codes and NaN lie above every level.
        return np.minimum(codes.view(np.uint64), np.uint64(self.levels)).view(np.int64)

    def middle(self, cell: int) -> str:
        """Describe a cell of a number in words."""
        if self.edges is None:
            return str(cell)
        if cell == len(self.edges) + 1:
            return "not known"
        low = f"> {self.edges[cell - 1]:.6g}" if cell else ""
        high = f"<= {self.edges[cell]:.6g}" if cell < len(self.edges) else ""
        return ", ".join(part for part in (low, high) if part) or "all"


@dataclass(frozen=True, eq=False)
class TableModel:
    """A sum of one- and two-way tables on the scale of the link.

    Attributes
    ----------
    link
        `log` or `logit`.
    intercept
        Raw score of the average risk.
    axes
        One per model input, in input order.
    mains
        Input -> table, shape (cells,).
    pairs
        (input, input) -> table, shape (cells, cells) of the two inputs.
    """

    link: Link
    intercept: float
    axes: tuple[Axis, ...]
    mains: dict[int, NDArray[np.float64]]
    pairs: dict[tuple[int, int], NDArray[np.float64]]

    @cached_property
    def _used(self) -> tuple[int, ...]:
        return tuple(sorted(set(self.mains) | {i for pair in self.pairs for i in pair}))

    @cached_property
    def _flat(self) -> tuple[tuple[int, int, int, NDArray[np.float64]], ...]:
        """Pairs as (i, j, width, cells from the first of the pair on).

        Tables of one first input stand side by side, so that its rows are counted once for all of them.
        """
        found: list[tuple[int, int, int, NDArray[np.float64]]] = []
        for i in dict.fromkeys(pair[0] for pair in self.pairs):
            group = {pair: table for pair, table in self.pairs.items() if pair[0] == i}
            beside = np.concatenate(list(group.values()), axis=1)
            flat, start = np.ascontiguousarray(beside).ravel(), 0
            for (_, j), table in group.items():
                found.append((i, j, beside.shape[1], flat[start:]))
                start += table.shape[1]
        return tuple(found)

    @cached_property
    def _doubled(self) -> dict[int, NDArray[np.float64]]:
        return {i: 2.0 * table for i, table in self.mains.items()}

    def _cells(self, part: NDArray[np.float64]) -> dict[int, NDArray[np.int64]]:
        return {i: self.axes[i].locate(part[:, i]) for i in self._used}

    def _rows(self, cells: dict[int, NDArray[np.int64]]) -> dict[int, NDArray[np.int64]]:
        return {i: cells[i] * width for i, width in {i: width for i, _, width, _ in self._flat}.items()}

    def predict_raw(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Score encoded risks.

        Parameters
        ----------
        values
            Shape (n, inputs), see `Encoding.encode`.

        Returns
        -------
        ndarray
            Raw scores, shape (n,).
        """
        out = np.full(len(values), self.intercept)
        for start in range(0, len(values), CHUNK):
            cells, total = self._cells(values[start : start + CHUNK]), out[start : start + CHUNK]
            rows = self._rows(cells)
            for i, table in self.mains.items():
                total += table.take(cells[i])
            for i, j, _, flat in self._flat:
                total += flat.take(rows[i] + cells[j])
        return out

    def contributions(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Split raw scores by input: its one-way cell plus half of each two-way cell it takes part in.

        Parameters
        ----------
        values
            Shape (n, inputs).

        Returns
        -------
        ndarray
            Shape (n, inputs); with the intercept each row adds up to the raw score.
        """
        out = np.zeros((len(values), len(self.axes)), order="F")
        for start in range(0, len(values), CHUNK):
            cells = self._cells(values[start : start + CHUNK])
            rows = self._rows(cells)
            # Twice each contribution, halved at the end: that is exact, and one step a pair instead of two.
            twice = np.zeros((len(self.axes), len(values[start : start + CHUNK])))
            for i, table in self._doubled.items():
                twice[i] += table.take(cells[i])
            for i, j, _, flat in self._flat:
                found = flat.take(rows[i] + cells[j])
                twice[i] += found
                twice[j] += found
            twice *= 0.5
            out[start : start + CHUNK] = twice.T
        return out

    @cached_property
    def _plain(self) -> tuple[list[tuple[int, list[float] | None, int]], list[Any], list[Any]]:
        # Memoryviews give Python floats without a copy of the tables.
        axes = [
            (i, None if (edges := self.axes[i].edges) is None else edges.tolist(), self.axes[i].levels)
            for i in self._used
        ]
        mains = [(i, memoryview(np.ascontiguousarray(table).data)) for i, table in self.mains.items()]
        pairs = [(i, j, width, memoryview(flat.data)) for i, j, width, flat in self._flat]
        return axes, mains, pairs

    def _cells_one(self, row: Sequence[float]) -> list[int]:
        cells = [0] * len(self.axes)
        for i, edges, levels in self._plain[0]:
            value = row[i]
            if edges is not None:
                cells[i] = len(edges) + 1 if value != value else bisect_left(edges, value)
            else:
                cells[i] = int(value) if -1 < value < levels else levels
        return cells

    def predict_raw_one(self, row: Sequence[float]) -> float:
        """Score one encoded risk, bit-equal to `predict_raw`."""
        cells = self._cells_one(row)
        _, mains, pairs = self._plain
        total = self.intercept
        for i, table in mains:
            total += table[cells[i]]
        for i, j, width, flat in pairs:
            total += flat[cells[i] * width + cells[j]]
        return float(total)

    def contributions_one(self, row: Sequence[float]) -> list[float]:
        """Split the raw score of one encoded risk by input, bit-equal to `contributions`."""
        cells = self._cells_one(row)
        _, mains, pairs = self._plain
        twice = [0.0] * len(self.axes)
        for i, table in mains:
            twice[i] += 2.0 * table[cells[i]]
        for i, j, width, flat in pairs:
            found = flat[cells[i] * width + cells[j]]
            twice[i] += found
            twice[j] += found
        return [0.5 * part for part in twice]

    def shifted(self, delta: float) -> TableModel:
        """Give the model with its intercept moved."""
        return replace(self, intercept=self.intercept + delta)

    @property
    def cell_count(self) -> int:
        """Number of cells in all tables."""
        return sum(table.size for table in (*self.mains.values(), *self.pairs.values()))

    def save(self, folder: Path, name: str) -> list[Path]:
        """Write `<name>.json` (axes, terms) and `<name>.arrow` (term, value: cells in row order).

        Parameters
        ----------
        folder
            Existing folder.
        name
            Stem of both files.
        """
        terms = [[i] for i in self.mains] + [list(pair) for pair in self.pairs]
        tables = [*self.mains.values(), *self.pairs.values()]
        head = {
            "format": FORMAT,
            "link": self.link,
            "intercept": self.intercept,
            "axes": [
                {"levels": a.levels} if a.edges is None else {"edges": a.edges.tolist()} for a in self.axes
            ],
            "terms": terms,
        }
        term = np.repeat(np.arange(len(tables), dtype=np.int32), [table.size for table in tables])
        value = np.concatenate([table.ravel() for table in tables]) if tables else np.empty(0)
        content = pa.table({"term": term, "value": value})
        paths = [folder / f"{name}.json", folder / f"{name}.arrow"]
        paths[0].write_text(json.dumps(head, indent=1) + "\n", encoding="utf-8")
        with paths[1].open("wb") as sink, pa.ipc.new_file(sink, content.schema) as writer:
            writer.write_table(content)
        return paths


def load_tables(folder: Path, name: str) -> TableModel:
    """Read what `TableModel.save` wrote.

    Raises
    ------
    ArtifactError
        If the format is unknown or head and cells do not fit together.
    """
    head = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    if head.get("format") != FORMAT:
        raise ArtifactError(f"{name}.json: format {head.get('format')!r} is unknown; allowed: {FORMAT}")
    with pa.OSFile(str(folder / f"{name}.arrow")) as source:
        content = pa.ipc.open_file(source).read_all()
    term, value = content["term"].to_numpy(), content["value"].to_numpy()
    axes = tuple(
        Axis(np.array(axis["edges"], dtype=np.float64)) if "edges" in axis else Axis(None, axis["levels"])
        for axis in head["axes"]
    )
    mains: dict[int, NDArray[np.float64]] = {}
    pairs: dict[tuple[int, int], NDArray[np.float64]] = {}
    for number, inputs in enumerate(head["terms"]):
        shape = tuple(axes[i].cells for i in inputs)
        cells = value[term == number]
        if cells.size != int(np.prod(shape)):
            raise ArtifactError(f"{name}.arrow: term {number} has {cells.size} cells, {shape} were declared")
        if len(inputs) == 1:
            mains[inputs[0]] = cells.copy()
        else:
            pairs[inputs[0], inputs[1]] = cells.reshape(shape).copy()
    return TableModel(head["link"], float(head["intercept"]), axes, mains, pairs)
