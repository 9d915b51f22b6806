"""Do the inputs give a protected attribute away? How much of it they predict, together and alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import lightgbm as lgb
import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from models.canvas import Canvas
from models.drawn import Drawn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

ALL = "all inputs"
FOLDS, ROUNDS = 3, 60
# More rows make the figures no clearer, only slower.
MOST_ROWS = 100_000


@dataclass(frozen=True, eq=False)
class ProxyTest(Drawn):
    """How well the inputs predict a protected attribute on rows that were not learnt from.

    Attributes
    ----------
    attribute
        Name of the protected attribute.
    frame
        Indexed by `all inputs` and by input, strongest first: `share` of the attribute's log loss that is
        explained (0 tells nothing, 1 gives it away), `low` and `high` of its 95 % interval, `auc` (one level
        against the rest, weighted by rows).
    """

    attribute: str
    frame: pd.DataFrame

    @property
    def share(self) -> float:
        """Explained share of all inputs together."""
        return float(self.frame.loc[ALL, "share"])

    def figure(self) -> Figure:
        """Draw the explained share of all inputs and of each."""
        shown = self.frame.iloc[:15].iloc[::-1]
        figure = Canvas(figsize=(7, 1.2 + 0.3 * len(shown)), layout="constrained")
        axes = figure.add_subplot()
        place = np.arange(len(shown))
        error = np.abs(shown[["low", "high"]].to_numpy().T - shown["share"].to_numpy())
        axes.barh(place, shown["share"], xerr=error, color="#3b7ea1", ecolor="0.3", capsize=2)
        axes.set_yticks(place, [str(name) for name in shown.index])
        axes.set(
            xlabel="share of the attribute's log loss explained (95 % interval)",
            title=f"What gives {self.attribute!r} away",
        )
        axes.set_xlim(left=min(0.0, float(shown["low"].min())))
        return figure


def proxy_test(
    attribute: str,
    codes: NDArray[np.int64],
    values: NDArray[np.float64],
    inputs: Sequence[str],
    levels: Sequence[int],
    *,
    seed: int = 1,
    threads: int = 1,
) -> ProxyTest:
    """Predict a protected attribute from the inputs, out of fold.

    A booster is grown on two thirds of the rows and judged on the other third, three times over; once with
    all inputs and once with each alone. An input that explains much is a proxy: leaving the attribute out of
    the model does not leave it out of the price.

    Parameters
    ----------
    attribute
        Name of the protected attribute.
    codes
        Its level on each row, shape (n,), 0..k-1.
    values
        Encoded inputs, shape (n, inputs).
    inputs, levels
        Names, and number of levels of each input (zero for numbers).
    seed
        Draws the rows (at most 100,000) and the folds.
    threads
        Of LightGBM.
    """
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(codes))[:MOST_ROWS]
    fold = np.arange(len(rows)) % FOLDS
    held = codes[rows]
    null = _null_loss(held, fold)
    lines: dict[str, dict[str, float]] = {}
    columns = {ALL: list(range(len(inputs)))} | {name: [i] for i, name in enumerate(inputs)}
    for name, used in columns.items():
        part = values[rows][:, used]
        categories = [i for i, column in enumerate(used) if levels[column]]
        predicted = _out_of_fold(part, held, fold, categories, seed, threads)
        gain = null + np.log(np.clip(predicted[np.arange(len(held)), held], 1e-12, 1.0))
        share = gain.mean() / null.mean()
        error = 1.96 * gain.std() / np.sqrt(len(gain)) / null.mean()
        lines[name] = {
            "share": share,
            "low": share - error,
            "high": share + error,
            "auc": _auc(held, predicted),
        }
    frame = pd.DataFrame.from_dict(lines, orient="index").rename_axis("input")
    alone = frame.drop(index=ALL).sort_values("share", ascending=False, kind="stable")
    return ProxyTest(attribute, pd.concat([frame.loc[[ALL]], alone]))


def _null_loss(codes: NDArray[np.int64], fold: NDArray[np.int64]) -> NDArray[np.float64]:
    """Log loss of each row when only the shares of the other folds are known."""
    loss = np.empty(len(codes))
    size = int(codes.max()) + 1
    for one in range(FOLDS):
        counted = np.bincount(codes[fold != one], minlength=size) + 0.5
        loss[fold == one] = -np.log(counted / counted.sum())[codes[fold == one]]
    return loss


def _out_of_fold(
    values: NDArray[np.float64],
    codes: NDArray[np.int64],
    fold: NDArray[np.int64],
    categories: list[int],
    seed: int,
    threads: int,
) -> NDArray[np.float64]:
    """Give probabilities by level, shape (n, k), each row predicted by a booster that has not seen it."""
    size = int(codes.max()) + 1
    out = np.empty((len(codes), size))
    parameters: dict[str, Any] = {
        "objective": "binary" if size == 2 else "multiclass",
        "num_leaves": 15,
        "min_data_in_leaf": 200,
        "learning_rate": 0.1,
        "seed": seed,
        "num_threads": threads,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }
    if size > 2:
        parameters["num_class"] = size
    for one in range(FOLDS):
        learn = fold != one
        known = lgb.Dataset(
            values[learn], codes[learn], categorical_feature=categories or "auto", params=parameters
        )
        found = np.asarray(lgb.train(parameters, known, ROUNDS).predict(values[~learn], num_threads=threads))
        out[~learn] = np.column_stack([1.0 - found, found]) if size == 2 else found
    return out


def _auc(codes: NDArray[np.int64], predicted: NDArray[np.float64]) -> float:
    if predicted.shape[1] == 2:
        return float(roc_auc_score(codes, predicted[:, 1]))
    return float(roc_auc_score(codes, predicted, multi_class="ovr", average="weighted"))
