"""Turn a LightGBM booster whose paths use at most two inputs into one- and two-way tables, exactly.

Each leaf is a box: a set of cells of one or two inputs, on which the tree adds the leaf value. Adding all
boxes of all trees gives the tables. What LightGBM does with missing values, categories and values near zero
is followed to the letter (`NumericalDecision` and `CategoricalDecision` in its `tree.h`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from models.errors import CompileError
from models.tables import Axis, TableModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from models.links import Link

# kZeroThreshold of LightGBM (a float): values this close to zero are read as zero.
NEAR_ZERO = float(np.float32(1e-35))
CATEGORICAL, DEFAULT_LEFT = 1, 2
MISSING_NONE, MISSING_ZERO, MISSING_NAN = 0, 1, 2

Box = dict[int, "NDArray[np.bool_]"]


@dataclass(frozen=True)
class Tree:
    """One tree in the array form of LightGBM's text; children below zero are leaves (-1 - leaf)."""

    feature: tuple[int, ...]
    threshold: tuple[float, ...]
    decision: tuple[int, ...]
    left: tuple[int, ...]
    right: tuple[int, ...]
    value: tuple[float, ...]
    gain: tuple[float, ...]
    category_bounds: tuple[int, ...]
    category_bits: tuple[int, ...]

    def category_set(self, node: int, levels: int) -> NDArray[np.bool_]:
        """Give the levels that go left at a categorical node, shape (levels + 1,); all others go right."""
        which = int(self.threshold[node])
        words = self.category_bits[self.category_bounds[which] : self.category_bounds[which + 1]]
        out = np.zeros(levels + 1, dtype=bool)
        for code in range(min(levels, 32 * len(words))):
            out[code] = bool(words[code // 32] >> (code % 32) & 1)
        return out


def parse_trees(text: str) -> list[Tree]:
    """Read the trees from LightGBM's text form.

    Parameters
    ----------
    text
        What `Booster.model_to_string` gives.

    Raises
    ------
    CompileError
        If the text has linear leaves or several outputs.
    """
    head, *blocks = text.split("\nTree=")
    if "num_tree_per_iteration=1" not in head.splitlines() and "num_class=1" not in head.splitlines():
        raise CompileError("the booster has several outputs per row")
    if not blocks:
        return []
    blocks[-1] = blocks[-1].split("\nend of trees")[0]
    return [_parse_tree(block) for block in blocks]


def _parse_tree(block: str) -> Tree:
    fields = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
    if fields.get("is_linear", "0") != "0":
        raise CompileError("the booster has linear leaves")

    def ints(key: str) -> tuple[int, ...]:
        return tuple(int(part) for part in fields.get(key, "").split())

    def floats(key: str) -> tuple[float, ...]:
        return tuple(float(part) for part in fields.get(key, "").split())

    return Tree(
        ints("split_feature"),
        floats("threshold"),
        ints("decision_type"),
        ints("left_child"),
        ints("right_child"),
        floats("leaf_value"),
        floats("split_gain"),
        ints("cat_boundaries"),
        ints("cat_threshold"),
    )


def compile_booster(text: str, levels: Sequence[int], link: Link) -> TableModel:
    """Compile a booster into tables that give its raw score (sums of the same leaf values).

    Parameters
    ----------
    text
        LightGBM's text form; every root-to-leaf path uses at most two inputs.
    levels
        Number of levels of each input, zero for numbers.
    link
        Link of the objective.

    Raises
    ------
    CompileError
        If a path uses three inputs or more.
    """
    trees = parse_trees(text)
    axes = _axes(trees, levels)
    sums: dict[tuple[int, ...], NDArray[np.float64]] = {}
    splits = [[_splits(tree, node, axes) for node in range(len(tree.feature))] for tree in trees]
    constant = 0.0
    for tree, masks in zip(trees, splits, strict=True):
        if not tree.feature:
            constant += sum(tree.value)
            continue
        _add_tree(tree, masks, axes, sums)
    mains = {key[0]: table for key, table in sorted(sums.items()) if len(key) == 1}
    pairs = {(key[0], key[1]): table for key, table in sorted(sums.items()) if len(key) == 2}
    return TableModel(link, constant, axes, mains, pairs)


def _axes(trees: Sequence[Tree], levels: Sequence[int]) -> tuple[Axis, ...]:
    edges: list[set[float]] = [set() for _ in levels]
    for tree in trees:
        for feature, threshold, decision in zip(tree.feature, tree.threshold, tree.decision, strict=True):
            if bool(decision & CATEGORICAL) != bool(levels[feature]):
                raise CompileError(f"input {feature} is split both as a number and as a category")
            if not levels[feature]:
                edges[feature].add(_edge(threshold))
    return tuple(
        Axis(None, count) if count else Axis(np.array(sorted(edges[i]))) for i, count in enumerate(levels)
    )


def _edge(threshold: float) -> float:
    """Move a threshold beside zero so that a plain comparison does what LightGBM does near zero."""
    if -NEAR_ZERO <= threshold < 0.0:
        return float(np.nextafter(-NEAR_ZERO, -np.inf))
    return NEAR_ZERO if 0.0 <= threshold <= NEAR_ZERO else threshold


def _splits(tree: Tree, node: int, axes: Sequence[Axis]) -> NDArray[np.bool_]:
    """Give the cells of the node's input that go left, shape (cells,)."""
    axis = axes[tree.feature[node]]
    decision = tree.decision[node]
    if decision & CATEGORICAL:
        return tree.category_set(node, axis.levels)
    if axis.edges is None:
        raise CompileError(f"input {tree.feature[node]} is a category but is split as a number")
    missing = decision >> 2 & 3
    if missing == MISSING_ZERO:
        raise CompileError("zero_as_missing is not supported")
    edge = _edge(tree.threshold[node])
    left = np.zeros(axis.cells, dtype=bool)
    left[: np.searchsorted(axis.edges, edge) + 1] = True
    left[-1] = bool(decision & DEFAULT_LEFT) if missing == MISSING_NAN else edge >= 0.0
    return left


def _add_tree(
    tree: Tree,
    masks: Sequence[NDArray[np.bool_]],
    axes: Sequence[Axis],
    sums: dict[tuple[int, ...], NDArray[np.float64]],
) -> None:
    stack: list[tuple[int, Box]] = [(0, {})]
    while stack:
        node, box = stack.pop()
        if node < 0:
            _add_leaf(tree.value[-1 - node], box, axes, sums)
            continue
        feature, left = tree.feature[node], masks[node]
        held = box.get(feature)
        stack.append((tree.left[node], {**box, feature: left if held is None else held & left}))
        stack.append((tree.right[node], {**box, feature: ~left if held is None else held & ~left}))


def _add_leaf(
    value: float, box: Box, axes: Sequence[Axis], sums: dict[tuple[int, ...], NDArray[np.float64]]
) -> None:
    key = tuple(sorted(box))
    if len(key) > 2:
        raise CompileError(f"a path uses the inputs {list(key)}; at most two can be compiled into tables")
    if key not in sums:
        sums[key] = np.zeros(tuple(axes[i].cells for i in key))
    if len(key) == 1:
        sums[key][box[key[0]]] += value
    else:
        sums[key][np.ix_(box[key[0]], box[key[1]])] += value
