"""Test deviance of the families on freMTPL2 frequency, by the product file motor_fr and its tuned settings.

The split of Wuthrich and Merz first, then one by feature vector. Settings come from settings/motor_fr.toml,
which `premia tune` wrote from the learn rows alone; every fit then uses all learn rows.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data.public import read_shared
from models import metrics
from models.families import Design, FitSettings, average, balanced, fit_family
from models.links import respond
from models.splits import repeated_rows, split_rows
from models.tables import TableModel
from models.training import design_of, read_table
from models.tuned import TunedSettings, read_tuned, tuned_path
from pricing.product import Product, Split, read_product

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from models.families import Scorer

PRODUCT = Path(__file__).parents[1] / "data" / "reference" / "products" / "motor_fr.toml"
SEEDS = 5
THREADS = 1


def shared_table(name: str, benchmark: str) -> pa.Table:
    """Read a real table of PREMIA_SHARED_DATA."""
    folder = os.environ.get("PREMIA_SHARED_DATA")
    if not folder:
        raise SystemExit(f"{benchmark}: PREMIA_SHARED_DATA must name the folder that holds {name}")
    return read_shared(Path(folder), name)


@dataclass(frozen=True, eq=False)
class Task:
    """Learn rows of the frequency, and test rows to judge it by."""

    learn: Design
    values: NDArray[np.float64]
    count: NDArray[np.float64]
    exposure: NDArray[np.float64]
    tuned: TunedSettings

    @classmethod
    def of(cls, product: Product, table: pa.Table, split: Split, tuned: TunedSettings) -> Task:
        """Part the rows of a table."""
        encoding, matrix, observed = read_table(product, table)
        rows = split_rows(split, table)
        learn, _ = design_of(product, "frequency", "poisson", encoding, matrix, observed, rows.learn)
        test = rows.test
        return cls(
            learn, np.asfortranarray(matrix[test]), observed.count[test], observed.exposure[test], tuned
        )

    def fit(self, family: str, seed: int = 1) -> Scorer:
        """Fit a family on all learn rows as `premia train` does."""
        settings = self.tuned.apply(FitSettings(seed=seed, threads=THREADS), "frequency", family)
        return fit_family(family, self.learn, settings)

    def average(self, members: list[Scorer]) -> Scorer:
        """Average GA2Ms of several seeds as the family `ga2m_ensemble` does."""
        return balanced(average([m for m in members if isinstance(m, TableModel)]), self.learn)

    def deviance(self, scorer: Scorer) -> float:
        """Mean Poisson deviance per policy of the test rows, x100."""
        expected = respond(scorer.predict_raw(self.values), scorer.link) * self.exposure
        return 100.0 * metrics.poisson_deviance(self.count, expected)

    def null(self) -> float:
        """Deviance of the average frequency of the learn rows, x100."""
        mean = float(self.learn.weight @ self.learn.target / self.learn.weight.sum())
        return 100.0 * metrics.poisson_deviance(self.count, mean * self.exposure)


def run() -> dict[str, float]:
    """Fit every family with several seeds and judge it on the test rows of both splits.

    Returns
    -------
    dict of str to float
        Mean Poisson deviance per policy x100: of the null model, the GLM, one LightGBM and one GA2M (mean
        of five seeds, the least and the most) and of the average of GA2Ms as one set of tables; the same with
        `grouped_` on a split by feature vector; `repeated`, the share of standard test rows whose feature
        vector is also a learn row.
    """
    table = shared_table("freMTPL2freq_clean_learntest", "accuracy")
    product = read_product(PRODUCT)
    tuned = read_tuned(tuned_path(PRODUCT, product.code))
    tuned.check_made_for(product)
    task = Task.of(product, table, product.split, tuned)
    figures = {"null": task.null(), "glm": task.deviance(task.fit("glm"))}
    members = tuned.apply(FitSettings(), "frequency", "ga2m_ensemble").members
    fitted = {
        "gbm": [task.fit("gbm", seed) for seed in range(1, SEEDS + 1)],
        "ga2m": [task.fit("ga2m", seed) for seed in range(1, max(members, SEEDS) + 1)],
    }
    for family, models in fitted.items():
        found = [task.deviance(model) for model in models[:SEEDS]]
        figures |= {family: float(np.mean(found)), f"{family}_min": min(found), f"{family}_max": max(found)}
    figures |= {
        "ensemble": task.deviance(task.average(fitted["ga2m"][:members])),
        "members": float(members),
    }
    columns = tuple(factor.source for factor in product.factors)
    figures["repeated"] = _repeated(table, columns, product.split)
    by_vector = Split(method="group", columns=columns, share=0.1)
    return figures | _grouped(Task.of(product, table, by_vector, tuned))


def _repeated(table: pa.Table, columns: tuple[str, ...], split: Split) -> float:
    rows = split_rows(split, table)
    return float(repeated_rows(table, columns, rows).sum() / rows.test.sum())


def _grouped(task: Task) -> dict[str, float]:
    members = [task.fit("ga2m", seed) for seed in range(1, SEEDS + 1)]
    return {
        "grouped_null": task.null(),
        "grouped_glm": task.deviance(task.fit("glm")),
        "grouped_gbm": task.deviance(task.fit("gbm")),
        "grouped_ga2m": float(np.mean([task.deviance(member) for member in members])),
        "grouped_ensemble": task.deviance(task.average(members)),
    }


if __name__ == "__main__":
    for name, value in run().items():
        print(f"{name:18} {value:.4f}")
