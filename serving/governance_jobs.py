"""What is done for a second actuary and a supervisor: card, fairness audit, filing pack of a stored model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa

from data.store import connect
from models.errors import RegistryError
from models.governance import Evidence, audit_fairness, filing_pack, model_card
from models.registry import Registry
from models.tables import TableModel
from models.tariff.proposal import tariff_of, tariff_rows
from models.tariff.tariff import Source
from models.versions import judge_bundles
from pricing.ladder import build_ladders
from pricing.plan import MILLION
from serving.batch_inputs import Sales, batch_inputs
from serving.compose import find_product, product_plan
from serving.tables import product_table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from pathlib import Path

    from numpy.typing import NDArray

    from features.spec import FeatureSpec
    from models.audit import Entry
    from models.bundle import Bundle
    from models.encoding import Encoding
    from models.governance import AttributeAudit, ModelCard
    from models.judged import Judged
    from models.tariff.tariff import Tariff
    from pricing.plan import RatingPlan
    from pricing.product import Product
    from serving.settings import Settings

    Array = NDArray[np.float64]
    Progress = Callable[[str, float], None]

BANDS = 10
OTHER = "other"


@dataclass(frozen=True, eq=False)
class Filed:
    """A stored model with its identity.

    Attributes
    ----------
    bundle, version, artifact_hash
        The model.
    log
        What was done to the version.
    """

    bundle: Bundle
    version: str
    artifact_hash: str
    log: tuple[Entry, ...]


def stored_model(settings: Settings, product: str, version: int | None) -> Filed:
    """Load a version; the one in service when none is named.

    Raises
    ------
    RegistryError
        If there is none.
    """
    registry = Registry(settings.registry)
    chosen = registry.version_of(product) if version is None else str(version)
    if chosen is None:
        raise RegistryError(f"no version of {product!r} is in service. Hint: name one by --version")
    bundle, artifact_hash = registry.stored(product, chosen)
    return Filed(bundle, chosen, artifact_hash, tuple(registry.audit.entries(product, chosen)))


def card_of(settings: Settings, product: str, version: int | None) -> ModelCard:
    """Give the model card of a version."""
    filed = stored_model(settings, product, version)
    return model_card(filed.bundle, filed.version, filed.artifact_hash, log=filed.log)


def audit_version(
    settings: Settings,
    spec: FeatureSpec,
    product: str,
    version: int | None,
    data: Path | None,
    as_of: datetime,
) -> list[AttributeAudit]:
    """Audit a version for fairness on a table that holds the protected attributes."""
    filed = stored_model(settings, product, version)
    known = find_product(settings, product)
    return audit_fairness(known, _table(settings, spec, known, data, as_of), filed.bundle.model)


def write_filing(
    settings: Settings,
    spec: FeatureSpec,
    product: str,
    out: Path,
    *,
    version: int | None = None,
    against: int | None = None,
    data: Path | None = None,
    as_of: datetime,
    progress: Progress | None = None,
) -> list[Path]:
    """Write the filing pack of a version.

    Parameters
    ----------
    settings, spec, product
        Where, feature definitions, product code.
    out
        Folder; must not exist.
    version
        What is filed; the version in service when absent.
    against
        Version whose prices are in force: the pack then shows how far the filing moves them.
    data, as_of
        Table of policies (None: the lake); nothing later is looked at.
    progress
        Told (step, share done).
    """
    report = progress or (lambda _step, _share: None)
    known = find_product(settings, product)
    plan = product_plan(known, settings.plans)
    filed = stored_model(settings, product, version)
    report("policies", 0.05)
    table = _table(settings, spec, known, data, as_of)
    report("test rows", 0.3)
    judged, _, _ = judge_bundles(known, {"filed": filed.bundle}, table)
    report("fairness", 0.5)
    held = [name for name in known.protected if name in table.column_names]
    audits = audit_fairness(known, table, filed.bundle.model) if held else []
    report("tariff", 0.7)
    factors = decoded(filed.bundle.encoding, judged.matrix)
    before, after, segments = _prices(settings, known, plan, filed, against, judged, factors)
    evidence = Evidence(
        judged.actual,
        judged.expected["filed"],
        judged.exposure,
        factors,
        _tariff(known, filed, table),
        before,
        after,
        segments,
        filed.log,
        audits,
    )
    report("write", 0.8)
    paths = filing_pack(out, filed.bundle, filed.version, filed.artifact_hash, plan, evidence)
    report("done", 1.0)
    return paths


def _table(
    settings: Settings, spec: FeatureSpec, product: Product, data: Path | None, as_of: datetime
) -> pa.Table:
    with connect(settings.lake) as con:
        return product_table(con, product, spec, data, as_of, settings.lake)


def _tariff(product: Product, filed: Filed, table: pa.Table) -> Tariff | None:
    bundle = filed.bundle
    if not all(isinstance(scorer, TableModel) for scorer in bundle.model.components.values()):
        return None
    learn, _ = tariff_rows(product, table)
    source = Source(filed.version, filed.artifact_hash, bundle.model.family)
    return tariff_of(bundle, source, learn)


def _prices(
    settings: Settings,
    product: Product,
    plan: RatingPlan,
    filed: Filed,
    against: int | None,
    judged: Judged,
    factors: pd.DataFrame,
) -> tuple[Array, Array, dict[str, Sequence[object]]]:
    """Price the test rows by what is in force and by the filing; rows that either refuses are left out."""
    if against is None:
        return np.empty(0), np.empty(0), {}
    old = stored_model(settings, product.code, against).bundle.model
    outlet, rows = plan.outlets[0], len(factors)
    batch = pa.RecordBatch.from_pandas(factors, preserve_index=False)
    prices = []
    for model in (old, filed.bundle.model):
        premium = model.risk_premium(judged.matrix)
        inputs = batch_inputs(product, plan, batch, premium, Sales([outlet[0]] * rows))
        if plan.price_policy is not None:  # what is filed is the price by cost; the policy moves from there
            inputs = replace(inputs, price_policy=MILLION)
        prices.append(build_ladders(inputs, plan, *outlet).price_minor.astype(np.float64))
    both = (prices[0] > 0) & (prices[1] > 0)
    return prices[0][both], prices[1][both], {name: banded(factors[name][both]) for name in factors}


def decoded(encoding: Encoding, matrix: Array) -> pd.DataFrame:
    """Turn encoded rows back into numbers and names of levels."""
    columns: dict[str, Array | NDArray[np.object_]] = {}
    for position, name in enumerate(encoding.inputs):
        levels, values = encoding.levels[position], matrix[:, position]
        if not levels:
            columns[name] = values
            continue
        names = np.array([*levels, OTHER], dtype=object)
        codes = np.where(np.isfinite(values), values, len(levels)).astype(np.int64)
        columns[name] = names[np.minimum(codes, len(levels))]
    return pd.DataFrame(columns)


def banded(column: pd.Series) -> list[str]:
    """Name the level of each row; numbers of many values are cut into ten bands of like rows."""
    if not pd.api.types.is_numeric_dtype(column.dtype) or column.nunique() <= BANDS:
        return ["not known" if pd.isna(value) else _short(value) for value in column]
    edges = np.unique(np.nanquantile(column, np.linspace(0, 1, BANDS + 1)))
    names = [f"{_short(low)} to {_short(high)}" for low, high in pairwise(edges)]
    place = np.clip(np.searchsorted(edges, column, side="left") - 1, 0, len(names) - 1)
    return ["not known" if pd.isna(value) else names[i] for value, i in zip(column, place, strict=True)]


def _short(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
