"""The fairness audit of a model: what it does to groups of the attributes that it must not see.

A protected attribute stands in the training table and nowhere else: no factor, feature or bundle can name it.
Only the audit reads it, and fits models with it that are thrown away afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.encoding import Encoding
from models.errors import TrainingDataError
from models.families import FitSettings
from models.governance.discrimination_free import DiscriminationFree, discrimination_free
from models.governance.price_gap import PriceGap, price_gap
from models.governance.proxies import ProxyTest, proxy_test
from models.response import Observed, read_observed
from models.splits import SplitRows, split_rows
from models.training import fit_risk_model
from pricing.errors import nearest
from pricing.factors import CategoryFactor, Text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models.risk_model import RiskModel
    from pricing.product import Product

OTHER, UNKNOWN = "other", "not known"
BANDS = 5
# A group with a smaller share of the rows is audited together with the other small ones.
SMALLEST_SHARE = 0.005
FAMILY = "gbm"
# Name of the attribute among the factors of the audit's own product.
AUDITED = "audited_attribute"


@dataclass(frozen=True, eq=False)
class AttributeAudit:
    """What the audit finds for one protected attribute, on test rows.

    Attributes
    ----------
    attribute
        Its name.
    proxies
        How far the inputs give it away.
    gap
        Premiums by group, at equal risk.
    prices
        Best estimate, discrimination-free price and the price charged.
    """

    attribute: str
    proxies: ProxyTest
    gap: PriceGap
    prices: DiscriminationFree

    def findings(self, product: Product) -> list[str]:
        """Say in words which limits of the product file are passed; empty when none is."""
        limits, found = product.fairness, []
        low = float(self.proxies.frame["low"].iloc[0])
        if low > limits.highest_proxy_share:
            found.append(
                f"the inputs explain {self.proxies.share:.1%} of {self.attribute!r} (at least {low:.1%}); "
                f"allowed: {limits.highest_proxy_share:.1%}"
            )
        if self.gap.widest > limits.widest_price_gap:
            found.append(
                f"at equal risk the premium differs by {self.gap.widest:.1%} or more between groups of "
                f"{self.attribute!r}; allowed: {limits.widest_price_gap:.1%}"
            )
        return found


def audit_fairness(
    product: Product, table: pa.Table, model: RiskModel, *, settings: FitSettings | None = None
) -> list[AttributeAudit]:
    """Audit a model for every protected attribute of its product that the table holds.

    Parameters
    ----------
    product
        Product file; `protected` names the attributes, `[split]` the rows to audit on.
    table
        Training table with the columns of the attributes.
    model
        What prices.
    settings
        Seed and threads of the audit models.

    Raises
    ------
    TrainingDataError
        If the product protects no attribute or the table holds none, or rows cannot be read.
    """
    settings = settings or FitSettings()
    if not product.protected:
        raise TrainingDataError([f"the product file of {product.code!r} names no protected attribute"])
    held = [name for name in product.protected if name in table.column_names]
    if not held:
        near = {name: nearest(name, table.column_names) for name in product.protected}
        hints = "; ".join(f"{name!r}" + (f" ({hint})" if hint else "") for name, hint in near.items())
        raise TrainingDataError([f"the table holds none of the protected attributes: {hints}"])
    encoded = Encoding.of(product).encode(table)
    if encoded.refused.any():
        raise TrainingDataError(encoded.sentences())
    observed, rows = read_observed(product, table), split_rows(product.split, table)
    premium = model.risk_premium(encoded.matrix[rows.test])
    return [
        _audit_one(product, name, table, encoded.matrix, observed, rows, premium, settings) for name in held
    ]


def _audit_one(
    product: Product,
    attribute: str,
    table: pa.Table,
    matrix: NDArray[np.float64],
    observed: Observed,
    split: SplitRows,
    premium: NDArray[np.float64],
    settings: FitSettings,
) -> AttributeAudit:
    test = split.test
    codes, groups = _groups(table[attribute], attribute)
    knowing = _knowing(product, attribute, groups)
    encoding = Encoding.of(knowing)
    position = encoding.inputs.index(AUDITED)
    wide = np.insert(matrix, position, codes.astype(np.float64), axis=1)
    best = fit_risk_model(knowing, FAMILY, encoding, wide, observed, split.learn, settings)
    by_level = np.empty((int(test.sum()), len(groups)))
    rows = wide[test]
    for level in range(len(groups)):
        rows[:, position] = float(level)
        by_level[:, level] = best.risk_premium(rows)
    exposure, held = observed.exposure[test], codes[test]
    fixed = product.cover.kind == "fixed_benefit"
    actual = observed.count[test] * best.benefit_minor if fixed else observed.amount_minor[test]
    prices = discrimination_free(by_level, held, groups, exposure, charged=premium)
    inputs = Encoding.of(product)
    return AttributeAudit(
        attribute,
        proxy_test(
            attribute,
            codes,
            matrix,
            inputs.inputs,
            tuple(len(levels) for levels in inputs.levels),
            seed=settings.seed,
            threads=settings.threads,
        ),
        price_gap(
            attribute, held, groups, premium, prices.best_estimate, actual, exposure, seed=settings.seed
        ),
        prices,
    )


def _knowing(product: Product, attribute: str, groups: tuple[str, ...]) -> Product:
    """Give the product with the attribute as a factor: for a model that no registry takes."""
    label = Text(en=attribute, zh=attribute)
    factor = CategoryFactor(name=AUDITED, column=attribute, label=label, type="category", levels=groups)
    protected = tuple(name for name in product.protected if name != attribute)
    return product.model_copy(update={"factors": (*product.factors, factor), "protected": protected})


def _groups(column: pa.ChunkedArray, attribute: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Give groups of an attribute: its levels, or five bands of a number; small ones are put together."""
    kind = column.type
    if pa.types.is_floating(kind) or pa.types.is_integer(kind):
        texts = _banded(np.asarray(pc.cast(column, pa.float64()).to_numpy(), dtype=np.float64))
    else:
        plain = pc.cast(column, pa.string()) if not pa.types.is_string(kind) else column
        texts = np.asarray(pc.fill_null(plain, UNKNOWN).to_numpy(zero_copy_only=False), dtype=object)
    names, codes = np.unique(texts.astype(str), return_inverse=True)
    small = np.bincount(codes) < SMALLEST_SHARE * len(codes)
    if small.any():
        texts = np.where(small[codes], OTHER, names[codes])
        names, codes = np.unique(texts, return_inverse=True)
    if len(names) < 2:
        raise TrainingDataError([f"{attribute!r} has one group, {names[0]!r}; there is nothing to compare"])
    return codes.astype(np.int64), tuple(str(name) for name in names)


def _banded(values: NDArray[np.float64]) -> NDArray[np.object_]:
    known = values[np.isfinite(values)]
    distinct = np.unique(known)
    if len(distinct) <= BANDS:
        texts = np.array([f"{value:g}" for value in distinct], dtype=object)
        place = np.searchsorted(distinct, np.where(np.isfinite(values), values, distinct[0]))
    else:
        edges = np.unique(np.quantile(known, np.linspace(0, 1, BANDS + 1)[1:-1]))
        bounds = ["", *(f"{edge:g}" for edge in edges), ""]
        texts = np.array(
            [
                f"up to {high}" if not low else f"above {low}" if not high else f"{low} to {high}"
                for low, high in zip(bounds[:-1], bounds[1:], strict=True)
            ],
            dtype=object,
        )
        place = np.searchsorted(edges, np.where(np.isfinite(values), values, edges[0]))
    return np.where(np.isfinite(values), texts[place], UNKNOWN)
