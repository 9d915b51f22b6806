"""Rows and products as inputs of a model: rates, co-purchase and history as of the row, customer features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from models.errors import RecommendationError
from models.recommend.baselines import cosine_weights, ease_weights, held_by, rates_as_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.recommend.task import Array, RankingTask, Rows

# Half-lives of rates, as a share of all rows.
HALF_LIVES = (0.008, 0.05, 0.25)
MIDDLE = 1  # the rate that models start from
SHORTEST = 200.0
BLOCKS = 8
RIDGE = 500.0
# Up to so many products, each product held is an input of its own.
MOST_HELD = 40
# A text column with more levels than this keeps its most frequent ones.
MOST_LEVELS = 200


@dataclass(frozen=True)
class Encoder:
    """Customer features as numbers.

    Attributes
    ----------
    levels
        Known levels of each column of texts; None for a column of numbers.
    """

    levels: dict[str, tuple[str, ...] | None]

    @classmethod
    def of(cls, features: pd.DataFrame) -> Encoder:
        """Learn which columns are numbers, and the levels of the others.

        Raises
        ------
        RecommendationError
            If a column holds times, which mean nothing by themselves.
        """
        levels: dict[str, tuple[str, ...] | None] = {}
        for name, column in features.items():
            if pd.api.types.is_datetime64_any_dtype(column):
                raise RecommendationError(f"features: {name} is a time. Hint: give the days since then")
            if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
                levels[str(name)] = None
                continue
            counts = column.dropna().astype(str).value_counts()
            levels[str(name)] = tuple(sorted(counts.index[:MOST_LEVELS]))
        return cls(levels)

    def encode(self, features: pd.DataFrame) -> Array:
        """Give numbers and codes of levels, NaN where missing or unknown; shape (n, columns)."""
        columns = []
        for name, known in self.levels.items():
            column = features[name]
            if known is None:
                columns.append(pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan))
            else:
                codes = pd.Index(known).get_indexer(column.astype(str)).astype(np.float64)
                columns.append(np.where((codes < 0) | column.isna().to_numpy(), np.nan, codes))
        return np.column_stack(columns) if columns else np.empty((len(features), 0))


@dataclass(frozen=True)
class Signals:
    """What is known of each product as of each row, strictly before it; arrays of shape (n, m).

    Attributes
    ----------
    log_odds
        Purchase rates given eligible as log-odds, by half-life.
    ease, knn
        Weights of what is held, from purchases before the block of rows.
    """

    log_odds: tuple[Array, ...]
    ease: Array
    knn: Array


def signals(task: RankingTask) -> Signals:
    """Work out the signals of all rows."""
    found = []
    for share in HALF_LIVES:
        rate = rates_as_of(task, max(share * len(task), SHORTEST))
        found.append(np.log(rate / (1.0 - rate)))
    ease = np.zeros(task.history.shape)
    knn = np.zeros(task.history.shape)
    wanted = np.linspace(0, len(task), BLOCKS + 1).astype(int)[:-1]
    starts = np.unique(np.searchsorted(task.time, task.time[wanted], side="left"))
    for start, stop in zip(starts, [*starts[1:], len(task)], strict=True):
        held = held_by(task, task.time[start])
        if len(held):
            mine = (task.history[start:stop] > 0).astype(np.float64)
            ease[start:stop] = mine @ ease_weights(held, RIDGE)
            knn[start:stop] = mine @ cosine_weights(held)
    return Signals(tuple(found), ease, knn)


def customer_inputs(task: RankingTask, rows: Rows, encoder: Encoder) -> Array:
    """Give what is known of the customers of some rows: history, holdings, features; (rows, columns)."""
    history, since = task.history[rows], task.since[rows]
    any_since = np.where(np.isnan(since), np.inf, since).min(axis=1)
    parts = [
        history.sum(axis=1)[:, None],
        (history > 0).sum(axis=1)[:, None],
        np.where(np.isinf(any_since), np.nan, any_since)[:, None],
        encoder.encode(task.features.iloc[rows]),
    ]
    if history.shape[1] <= MOST_HELD:
        parts.append(history > 0)
    return np.column_stack(parts).astype(np.float32)


def categorical(encoder: Encoder) -> list[int]:
    """Give the positions of text columns among `customer_inputs`."""
    return [3 + i for i, known in enumerate(encoder.levels.values()) if known is not None]


def pair_inputs(
    task: RankingTask, rows: Rows, found: Signals, row: Rows, product: Rows, customers: Array
) -> Array:
    """Give the inputs of pairs: product, its signals, and the customer; shape (pairs, columns).

    Parameters
    ----------
    task, rows, found
        Task, the rows meant, and the signals of all rows.
    row, product
        The pairs: position in `rows`, and product.
    customers
        `customer_inputs` of `rows`.
    """
    at = rows[row]
    own: list[NDArray[Any]] = [
        product,
        *(log_odds[at, product] for log_odds in found.log_odds),
        task.history[at, product],
        task.since[at, product],
        found.ease[at, product],
        found.knn[at, product],
    ]
    return np.column_stack([np.column_stack(own).astype(np.float32), customers[row]])


OWN_INPUTS = 1 + len(HALF_LIVES) + 4
