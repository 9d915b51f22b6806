"""What the command line does with tariffs: out of the registry, back into it, compared, distilled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from data.store import connect
from models.encoding import Encoding
from models.errors import MismatchError, TariffError
from models.fitted import inputs_hash
from models.own_history import OwnHistories
from models.registry import Registry
from models.tariff.diff import Diff, diff
from models.tariff.distil import Distilling, distil
from models.tariff.fidelity import Fidelity, fidelity
from models.tariff.files import read_tariff, read_unedited
from models.tariff.proposal import check_parent, propose, tariff_of, tariff_rows
from models.tariff.tariff import Source
from models.tuned import read_tuned, tuned_path
from serving.clock import wall_clock
from serving.compose import find_product
from serving.tables import product_table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    import pyarrow as pa

    from features.spec import FeatureSpec
    from models.promotion import Decision
    from models.tariff.tariff import Tariff
    from pricing.product import Product
    from serving.settings import Settings


@dataclass(frozen=True)
class Desk:
    """What every job on tariffs needs.

    Attributes
    ----------
    settings, spec
        Where things are, and the feature definitions.
    data
        A table of one's own (parquet or CSV); None takes policies and claims of the lake.
    as_of
        Nothing later is looked at.
    """

    settings: Settings
    spec: FeatureSpec
    data: Path | None
    as_of: datetime

    def table(self, product: Product) -> pa.Table:
        """Give the training table of a product."""
        with connect(self.settings.lake) as con:
            return product_table(con, product, self.spec, self.data, self.as_of, self.settings.lake)

    @property
    def own(self) -> OwnHistories | None:
        """Give own claims to judge by; None for a table of one's own."""
        return OwnHistories(self.settings.lake, self.spec) if self.data is None else None


@dataclass(frozen=True)
class Registered:
    """A tariff that became a version.

    Attributes
    ----------
    tariff
        With every changed cell.
    version
        Version in the registry.
    difference
        Against the file as it was written.
    decision
        What the thresholds of the product file say of it.
    """

    tariff: Tariff
    version: str
    difference: Diff
    decision: Decision


def export_tariff(
    desk: Desk,
    code: str,
    version: str,
    family: str | None = None,
    base: Mapping[str, str] | None = None,
) -> Tariff:
    """Give the tariff of a registered version, measured on the learn rows.

    Parameters
    ----------
    desk
        Settings and data.
    code, version
        Product, and version in the registry.
    family
        Another family of the same training.
    base
        Input -> name of its base level.
    """
    product = find_product(desk.settings, code)
    bundle, artifact_hash = Registry(desk.settings.registry).stored(code, version, family)
    if bundle.product.hash != product.hash:
        raise MismatchError("products", bundle.product.hash, product.hash)
    learn, _ = tariff_rows(product, desk.table(product))
    beside = tuned_path(desk.settings.products / f"{code}.toml", code)
    tuned = read_tuned(beside) if beside.is_file() else None
    return tariff_of(bundle, Source(str(version), artifact_hash, bundle.model.family), learn, base, tuned)


def distil_tariff(
    desk: Desk, code: str, version: str, family: str | None, settings: Distilling
) -> tuple[Tariff, Fidelity]:
    """Distil a registered model into a tariff, and say what it keeps.

    Parameters
    ----------
    desk
        Settings and data.
    code, version, family
        Product, version in the registry, and family of that training.
    settings
        Bands and pairs.
    """
    product = find_product(desk.settings, code)
    bundle, artifact_hash = Registry(desk.settings.registry).stored(code, version, family)
    if bundle.product.hash != product.hash:
        raise MismatchError("products", bundle.product.hash, product.hash)
    learn, test = tariff_rows(product, desk.table(product))
    source = Source(str(version), artifact_hash, bundle.model.family)
    tariff = distil(product, bundle.encoding, bundle.model, learn, settings, source)
    return tariff, fidelity(tariff, bundle.model, test)


def import_tariff(desk: Desk, path: Path, editor: str) -> Registered:
    """Register an edited tariff as a version of family `tariff`, judged on the test rows.

    Parameters
    ----------
    desk
        Settings and data.
    path
        File as written by `export_tariff` or `distil_tariff`.
    editor
        Who edited it.

    Raises
    ------
    TariffError
        Naming the place of everything in the file that may not be; nothing is registered.
    MismatchError
        If it was made for another product file, other inputs, or another parent than is registered.
    """
    if not editor.strip():
        raise TariffError(["who edited it must be named; someone else approves it. Hint: --editor NAME"])
    tariff, written = read_tariff(path, editor), read_unedited(path)
    product = find_product(desk.settings, tariff.product)
    registry = Registry(desk.settings.registry)
    if tariff.source.version:
        family = tariff.source.family or None
        check_parent(tariff, registry.stored(product.code, tariff.source.version, family)[1])
    table = desk.table(product)
    spec_hash, now = inputs_hash(desk.spec, product.profile), wall_clock(desk.settings.clock)()
    result = propose(tariff, product, table, spec_hash, registry.champion(product.code), desk.own)
    difference = diff(written, tariff, *_portfolio(product, table))
    version = registry.log_training(result, author=editor, at=now)
    return Registered(tariff, version, difference, registry.decision(product.code, version))


def compare_tariffs(desk: Desk, before: Path, after: Path | None) -> Diff:
    """Compare two files of tariffs on a portfolio, or one with itself as it was written.

    Parameters
    ----------
    desk
        Settings, and the portfolio.
    before, after
        Files; with one alone, `before` is what was written and `after` what was edited in it.
    """
    one = read_unedited(before) if after is None else read_tariff(before)
    two = read_tariff(before if after is None else after)
    product = find_product(desk.settings, two.product)
    return diff(one, two, *_portfolio(product, desk.table(product)))


def _portfolio(product: Product, table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Give encoded risks and exposure; one each where the table has no exposure."""
    encoded = Encoding.of(product).encode(table)
    encoded.raise_if_refused()
    column = product.exposure.column
    known = column is not None and column in table.column_names
    exposure = np.asarray(table[column], dtype=np.float64) if known else np.ones(table.num_rows)
    return encoded.matrix, exposure
