"""Judge the families of a product on its test rows, and what is in service with them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from models import metrics
from models.comparison import NULL, Comparison, Held, compare_totals
from models.errors import EncodingError, TrainingDataError
from models.losses import row_losses
from models.risk_model import COMPONENTS
from pricing.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pyarrow as pa
    from numpy.typing import NDArray

    from models.bundle import Bundle
    from models.encoding import Encoding
    from models.response import Observed
    from models.risk_model import RiskModel
    from models.sample import Sample
    from pricing.product import Product

    Array = NDArray[np.float64]

EMPTY = ""
# What the price caps at 1 would be an infinite loss where nothing happens.
CERTAIN = 1.0 - 1e-6
# The line of the model that prices today.
IN_SERVICE = "in_service"


@dataclass(frozen=True, eq=False)
class Judged:
    """Test rows with what each family says of them.

    Attributes
    ----------
    comparison
        One line per family, `null` and, when one was given, `in_service`: the figures of `compare` on the
        response (claims, events, or amounts cut at the large-loss threshold), then those of the cost.
    response
        The same with tests, rows and totals.
    actual
        Cost of each test row, shape (n,): minor units, or claims where the benefit is fixed.
    exposure
        Shape (n,).
    expected
        Family -> expected cost of each test row, same unit.
    matrix
        Encoded test rows, shape (n, inputs).
    inputs
        Names of the inputs.
    not_compared
        Why the model in service could not be judged on these rows; empty when it was, or none was given.
    own
        Family -> relativity of own history that its expected cost holds, shape (n,), where one does.
    """

    comparison: pd.DataFrame
    response: Comparison
    actual: Array
    exposure: Array
    expected: dict[str, Array]
    matrix: Array
    inputs: tuple[str, ...]
    not_compared: str = EMPTY
    own: Mapping[str, Array] = field(default_factory=dict)


def judge(
    sample: Sample,
    models: Mapping[str, RiskModel],
    *,
    in_service: Bundle | None = None,
    seed: int = 1,
    own: Callable[[str], Array | None] | None = None,
) -> Judged:
    """Score the test rows by every family and work out the figures.

    To the figures of `compare` come, by kind of response: `auc` of events, `severity_deviance` (gamma, per
    claim), `cost_gini` and `cost_ae` of the risk premium with its pooled large losses.

    Parameters
    ----------
    sample
        Training table, split.
    models
        Fitted families.
    in_service
        Model that prices today.
    seed
        Of the bootstraps.
    own
        Gives the relativity of own history of the test rows by family, shape (n,), so that what is judged is
        what prices; absent, models are judged without.
    """
    values, happened = sample.matrix[sample.test], sample.observed.take(sample.test)
    predicted: dict[str, dict[str, Array]] = {}
    seconds: dict[str, float] = {}
    for family, model in models.items():
        start = time.perf_counter()
        predicted[family] = model.predict(values)
        seconds[family] = time.perf_counter() - start
    combining = dict(models)
    not_compared = EMPTY
    if in_service is not None:
        start = time.perf_counter()
        found = _in_service(sample.product, in_service, sample.tested)
        if isinstance(found, str):
            not_compared = found
        else:
            predicted[IN_SERVICE], combining[IN_SERVICE] = found, in_service.model
            seconds[IN_SERVICE] = time.perf_counter() - start
    components = tuple(COMPONENTS[sample.product.response.kind])
    null = null_prediction(sample.observed, sample.learn, len(values), components)
    held = _held(sample, happened, float(null[components[0]][0]))
    rated = {} if own is None else _relativities(own, predicted)
    # A relativity of cost says nothing of the number of claims.
    rates = {} if _of_cost(sample.product) and components[0] != "pure_premium" else rated
    totals = {f: parts[components[0]] * held.exposure * rates.get(f, 1.0) for f, parts in predicted.items()}
    response = compare_totals(held, totals, seconds, seed)
    one = next(iter(models.values()))
    fixed = sample.product.cover.kind == "fixed_benefit"
    cost = happened.count * one.benefit_minor if fixed else happened.amount_minor
    predicted[NULL], combining[NULL] = null, one
    expected = {
        f: combining[f].combine(parts) * held.exposure * rated.get(f, 1.0) for f, parts in predicted.items()
    }
    further = {f: _further(parts, happened, cost, expected[f]) for f, parts in predicted.items()}
    comparison = response.table.join(pd.DataFrame.from_dict(further, orient="index"))
    return Judged(
        comparison, response, cost, held.exposure, expected, values, one.inputs, not_compared, rated
    )


def _of_cost(product: Product) -> bool:
    return product.experience is not None and product.experience.method == "buhlmann_straub"


def _relativities(
    own: Callable[[str], Array | None], predicted: Mapping[str, Mapping[str, Array]]
) -> dict[str, Array]:
    """Give the relativities as they price: no probability is lifted above 1 (to less, for the log loss)."""
    found: dict[str, Array] = {}
    for family, parts in predicted.items():
        relativity = own(family)
        if relativity is not None:
            chance = parts.get("probability")
            most = np.inf if chance is None else CERTAIN / np.maximum(chance, np.finfo(np.float64).tiny)
            found[family] = np.minimum(relativity, most)
    return found


def _held(sample: Sample, happened: Observed, null_rate: float) -> Held:
    """Give the test rows of the first component, which ranks the models."""
    product, rows = sample.product, sample.tested
    objective = next(iter(COMPONENTS[product.response.kind].values()))
    groups = None if sample.groups is None else sample.groups[sample.test]
    return Held(
        happened.capped_minor if objective == "tweedie" else happened.count,
        happened.exposure,
        objective,
        null_rate,
        _factors(product, sample.encoding, sample.matrix[sample.test], rows),
        product.promotion.segments.columns,
        _column(rows, product.split.column) if product.split.method == "time" else None,
        _column(rows, product.profile.customer) if groups is None else groups,
    )


def null_prediction(
    observed: Observed, learn: NDArray[np.bool_], size: int, components: tuple[str, ...]
) -> dict[str, Array]:
    """Give the average of the learn rows as prediction of every component, each shape (size,)."""
    count, exposure = observed.count[learn], observed.exposure[learn]
    capped = observed.capped_minor[learn]
    averages = {
        "probability": float(count.mean()),
        "frequency": float(count.sum() / exposure.sum()),
        "severity": float(capped.sum() / max(count.sum(), 1.0)),
        "pure_premium": float(capped.sum() / exposure.sum()),
    }
    return {name: np.full(size, averages[name]) for name in components}


def _further(
    parts: Mapping[str, Array], happened: Observed, cost: Array, expected: Array
) -> dict[str, float]:
    figures: dict[str, float] = {}
    if "probability" in parts:
        figures["auc"] = metrics.auc(happened.count, parts["probability"])
    if "severity" in parts:
        paid = happened.capped_minor > 0
        if paid.any():
            count = happened.count[paid]
            totals = happened.capped_minor[paid], parts["severity"][paid] * count
            figures["severity_deviance"] = float(row_losses("gamma", *totals, count).mean())
    if cost.sum() > 0:
        figures["cost_gini"] = metrics.gini(cost, expected / happened.exposure, happened.exposure)
        figures["cost_ae"] = metrics.actual_over_expected(cost, expected)
    return figures


def _in_service(product: Product, bundle: Bundle, rows: pa.Table) -> dict[str, Array] | str:
    """Predict by the model in service, or say why it cannot."""
    if bundle.product.response.kind != product.response.kind:
        return f"it predicts {bundle.product.response.kind}, the product file says {product.response.kind}"
    try:
        encoded = bundle.encoding.encode(rows)
        encoded.raise_if_refused()
    except EncodingError as error:
        return str(error)
    return dict(bundle.model.predict(encoded.matrix))


def _factors(product: Product, encoding: Encoding, values: Array, rows: pa.Table) -> pd.DataFrame:
    """Give the inputs as people read them, and the columns that segments name."""
    columns: dict[str, object] = {}
    for i, (name, levels) in enumerate(zip(encoding.inputs, encoding.levels, strict=True)):
        column = values[:, i]
        columns[name] = (
            pd.Categorical.from_codes(column.astype(np.int64), categories=list(levels)) if levels else column
        )
    for name in product.promotion.segments.columns:
        if name not in columns:
            if name not in rows.column_names:
                hint = nearest(name, [*columns, *rows.column_names])
                raise TrainingDataError([f"promotion.segments: column {name!r} is absent ({hint})"])
            columns[name] = rows[name].to_pandas().to_numpy()
    return pd.DataFrame(columns)


def _column(rows: pa.Table, name: str | None) -> NDArray[np.generic] | None:
    return None if name not in rows.column_names else np.asarray(rows[name].to_pandas())
