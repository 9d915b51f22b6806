"""Fitted features: estimates made anew as of the first of each month, read by models beside the risk profile.

A profile feature is arithmetic on events; a fitted feature is the estimate of a model, here the credibility
of the buyer and of the shop (`models.credibility`). It is fitted from what was known at midnight UTC on the
first of a month and holds for every quote of that month, so that training, batch and service read the same
number. An entity without a record at that moment has no value (null, NaN): it is not the average one.

A fit is stored as the table ``_fitted/credibility/as_of=YYYY-MM-01`` of the lake: ``customers``, ``sellers``
and the ``base`` they stand on. It is made again when the orders that it was made from have changed.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from data.errors import TableMissingError
from data.manifest import MANIFEST_NAME, read_manifest
from data.store import TableWrite, sql_text, write_parquet_atomic
from models import credibility
from models.errors import FitError, FittedMissingError, TrainingDataError
from models.order_history import WINDOW_DAYS, read_order_histories
from pricing.errors import nearest
from pricing.factors import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    import duckdb

    from features.spec import FeatureSpec
    from models.credibility import Frailties, TwoWay
    from models.order_history import OrderHistory
    from pricing.product import Profile

TABLE = "_fitted/credibility"
LABELS = "fitted_labels"
MONTH = "%Y-%m-%d"


@dataclass(frozen=True)
class FittedFeature:
    """A fitted feature that products may name.

    Attributes
    ----------
    name
        Name in product files.
    entity
        Part of the stored fit that holds it: `customers` or `sellers`.
    key
        Column that says whose it is.
    unit, description
        What people read.
    purpose
        What the customer must have agreed to; None where no customer is described.
    """

    name: str
    entity: str
    key: str
    unit: str
    description: Text
    purpose: str | None


FITTED: dict[str, FittedFeature] = {
    item.name: item
    for item in (
        FittedFeature(
            "buyer_frailty",
            "customers",
            "customer_id",
            "1",
            Text(
                en="returns of the buyer against what their goods explain", zh="买家退货倾向（相对商品预期）"
            ),
            "pricing",
        ),
        FittedFeature(
            "seller_frailty",
            "sellers",
            "seller_id",
            "1",
            Text(en="returns of the shop against what its goods explain", zh="店铺退货倾向（相对商品预期）"),
            None,
        ),
    )
}


def month_of(moment: dt.datetime) -> dt.datetime:
    """Give the moment as of which fitted features of a time are known: the first of its month."""
    return dt.datetime(moment.year, moment.month, 1)  # noqa: DTZ001 - naive UTC


def months_of(times: pa.ChunkedArray | pa.Array) -> list[dt.datetime]:
    """Give the months that the times of a table fall in, rising."""
    found = {month_of(moment) for moment in times.unique().to_pylist() if moment is not None}
    return sorted(found)


def inputs_hash(spec: FeatureSpec, profile: Profile) -> str:
    """Fingerprint what the values of a product's profile and fitted features depend on; empty without any."""
    own = spec.hash(profile.features) if profile.features else ""
    if not profile.fitted:
        return own
    text = "\n".join([own, f"credibility {credibility.VERSION}", *sorted(profile.fitted)])
    return hashlib.sha256(text.encode()).hexdigest()


def purposes_of(spec: FeatureSpec, name: str) -> tuple[str, ...]:
    """Give every purpose that a customer must have agreed to before a model may read this of them."""
    if name in FITTED:
        purpose = FITTED[name].purpose
        return () if purpose is None else (purpose,)
    return spec.purposes_of(name)


def history_keys(spec: FeatureSpec, profile: Profile) -> tuple[str, ...]:
    """Name the key columns of those whose history a product reads, for example `customer_id`."""
    keys = [column for entity in spec.entities_of(profile.features) for column in entity.keys]
    return tuple(dict.fromkeys([*keys, *(FITTED[name].key for name in profile.fitted)]))


def drop_outdated(root: Path) -> list[dt.datetime]:
    """Remove fits whose orders have changed since, as after an erasure; they are made again when needed."""
    outdated = [
        month for month in fitted_months(root) if _stored_fingerprint(root, month) != fingerprint(root, month)
    ]
    for month in outdated:
        folder = root / _folder(month)
        (folder / MANIFEST_NAME).unlink()  # first, so that nobody reads half of it
        shutil.rmtree(folder)
    return outdated


def ensure_fitted(
    con: duckdb.DuckDBPyConnection,
    root: Path,
    months: Iterable[dt.datetime],
    progress: Callable[[str, float], None] | None = None,
) -> list[dt.datetime]:
    """Fit the months that are missing, or whose orders have changed since.

    Parameters
    ----------
    con
        Connection to the lake.
    root
        The lake.
    months
        Firsts of months, naive UTC.
    progress
        Told (month, share done) before each fit.

    Returns
    -------
    list of datetime
        The months that were fitted now.
    """
    wanted = sorted(set(months))
    if any(month != month_of(month) for month in wanted):
        raise FittedMissingError(f"fits are made as of the first of a month, asked was for {wanted}")
    stale = [month for month in wanted if _stored_fingerprint(root, month) != fingerprint(root, month)]
    made_from = [fingerprint(root, month) for month in stale]
    histories = read_order_histories(con, stale)
    for number, (month, files) in enumerate(zip(stale, made_from, strict=True)):
        if progress:
            progress(f"credibility as of {month:%Y-%m}", number / len(stale))
        _store_fit(root, month, files, next(histories))
    return stale


def fingerprint(root: Path, month: dt.datetime) -> str:
    """Identify what a fit as of a month is made from: the definition and the order files that it reads."""
    oldest = month - dt.timedelta(days=WINDOW_DAYS)
    lines = [f"credibility {credibility.VERSION} as of {month:{MONTH}}"]
    for file in read_manifest(root / "orders").files:
        part = next((p[6:] for p in file.path.split("/") if p.startswith("month=")), None)
        if part is None or f"{oldest:%Y-%m}" <= part < f"{month:%Y-%m}":
            lines.append(file.sha256)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _folder(month: dt.datetime) -> str:
    return f"{TABLE}/as_of={month:{MONTH}}"


def _stored_fingerprint(root: Path, month: dt.datetime) -> str | None:
    try:
        return read_manifest(root / _folder(month)).inputs.get("orders")
    except TableMissingError:
        return None


def _store_fit(root: Path, month: dt.datetime, made_from: str, orders: OrderHistory) -> None:
    try:
        fit = credibility.fit_two_way(orders)
    except FitError:
        # Too few returns to fit anything: the month is stored as one in which nobody has a record.
        fit = None
    with TableWrite(root, _folder(month), created=month, source="orders", fingerprint=made_from) as write:
        if fit is None:
            return
        tables = {
            "customers": _side_table(fit.buyers, "customer_id"),
            "sellers": _side_table(fit.shops, "seller_id"),
            "base": _base_table(fit),
        }
        for folder, table in tables.items():
            path = write.stage()
            write_parquet_atomic(table, path)
            write.add(path, folder)


def _side_table(side: Frailties, key: str) -> pa.Table:
    columns = {key: side.ids, "frailty": side.frailty, "returns": side.returns, "expected": side.expected}
    return pa.table(columns)


def _base_table(fit: TwoWay) -> pa.Table:
    lines: list[tuple[str, str, float]] = [
        ("alpha", "buyers", fit.buyers.alpha),
        ("alpha", "shops", fit.shops.alpha),
    ]
    effects: dict[str, dict[str, float] | dict[int, float]] = {
        "category_hazard": fit.category_hazard,
        "size_effect": fit.size_effect,
        "month_effect": fit.month_effect,
        "known_share": dict(enumerate(fit.known_share.tolist())),
    }
    lines += [(what, str(key), value) for what, found in effects.items() for key, value in found.items()]
    names = ("what", "level", "value")
    return pa.table(dict(zip(names, map(list, zip(*lines, strict=True)), strict=True)))


def fitted_files(root: Path, month: dt.datetime, entity: str) -> list[Path]:
    """List the files of one part (`customers`, `sellers`, `base`) of the fit as of a month.

    Raises
    ------
    FittedMissingError
        If that month has not been fitted.
    """
    folder = root / _folder(month)
    try:
        manifest = read_manifest(folder)
    except TableMissingError as error:
        raise FittedMissingError(
            f"credibility as of {month:{MONTH}} has not been fitted. Hint: `ensure_fitted` makes it"
        ) from error
    return [folder / file.path for file in manifest.files if file.path.split("/")[0] == entity]


def fitted_months(root: Path) -> list[dt.datetime]:
    """List the months that have been fitted, rising."""
    names = (folder.name[6:] for folder in (root / TABLE).glob("as_of=*") if folder.is_dir())
    found = (dt.datetime.strptime(name, MONTH) for name in names)  # noqa: DTZ007 - naive UTC
    return sorted(month for month in found if _stored_fingerprint(root, month) is not None)


def attach_fitted(
    con: duckdb.DuckDBPyConnection, root: Path, table: pa.Table, profile: Profile, names: Sequence[str]
) -> pa.Table:
    """Add fitted features to a table, each row as of the first of its own month.

    Parameters
    ----------
    con, root
        Connection to the lake, and the lake.
    table
        Has the columns that `profile.customer`, `profile.seller` (as needed) and `profile.as_of` name.
    profile
        Names these columns.
    names
        Fitted features, in order.

    Raises
    ------
    TrainingDataError
        If a key or the time is absent.
    FittedMissingError
        If a month has not been fitted (see `ensure_fitted`).
    """
    keys = {"customer_id": profile.customer, "seller_id": profile.seller}
    columns = {name: keys[FITTED[name].key] for name in names}
    absent = [c for c in dict.fromkeys([profile.as_of, *columns.values()]) if c not in table.column_names]
    if absent:
        raise TrainingDataError(
            [
                f"column {c!r} is absent ({nearest(c, table.column_names)}); fitted features need it"
                for c in absent
            ]
        )
    times = table[profile.as_of].cast(pa.timestamp("us"))
    months = months_of(times)
    for name in names:
        item = FITTED[name]
        labels = pa.table(
            {
                "row": pa.array(range(table.num_rows), pa.int64()),
                "key": table[columns[name]].cast(pa.int64()),
                "moment": times,
            }
        )
        con.register(LABELS, labels)
        try:
            found = con.sql(_join_query(root, months, item)).to_arrow_table()
        finally:
            con.unregister(LABELS)
        table = table.append_column(name, found["frailty"].cast(pa.float64()))
    return table


def _join_query(root: Path, months: Sequence[dt.datetime], item: FittedFeature) -> str:
    parts = [
        f"SELECT TIMESTAMP {sql_text(f'{month:{MONTH}}')} AS month, {item.key} AS key, frailty "  # noqa: S608
        f"FROM read_parquet({sql_text(path)}, hive_partitioning = false)"
        for month in months
        for path in fitted_files(root, month, item.entity)
    ]
    fitted = " UNION ALL ".join(parts) or (
        "SELECT NULL::TIMESTAMP AS month, NULL::BIGINT AS key, NULL::DOUBLE AS frailty WHERE false"
    )
    return f"""
        SELECT l.row, f.frailty FROM {LABELS} l
        LEFT JOIN ({fitted}) f ON f.key = l.key AND f.month = date_trunc('month', l.moment)
        ORDER BY l.row
    """  # noqa: S608 - paths are quoted, names are our own
