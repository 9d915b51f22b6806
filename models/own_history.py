"""Own claims and covers of customers or shops out of the lake, as the sums that experience rating keeps."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from data.store import connect
from models.experience import expected_per_cover, largest_claim_minor, rating_of
from models.training_table import attach_profiles
from pricing.experience import MILLION

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import duckdb
    from numpy.typing import NDArray

    from features.spec import FeatureSpec
    from models.bundle import Bundle
    from pricing.experience import Experience, ExperienceRating

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

DAY_US = 86_400_000_000
EPOCH_DAY = dt.date(1970, 1, 1).toordinal()
UNITS_TABLE = "own_history_units"
# Covers that are scored at once.
BATCH = 1 << 18


@dataclass(frozen=True, eq=False)
class OwnClaims:
    """Claims (or returns) of many units, sorted by unit; each attribute has shape (n,).

    Attributes
    ----------
    unit
        Customer or seller.
    known_us
        When it became known, microseconds since 1970.
    amount
        Weighted by its day, in units of the sums.
    """

    unit: Ints
    known_us: Ints
    amount: Ints


@dataclass(frozen=True, eq=False)
class Terms:
    """Covers (or orders) of many units, sorted by unit; each attribute has shape (n,).

    Attributes
    ----------
    unit
        Customer or seller.
    first, last
        First day, and first day after, counted from the rating's `since`.
    rate
        Expected on one day, in units of the sums.
    """

    unit: Ints
    first: Ints
    last: Ints
    rate: Ints


@dataclass(frozen=True, eq=False)
class OwnSums:
    """What counts for each of many (unit, moment) pairs; each attribute has shape (n,)."""

    claims: Ints
    expected: Ints
    relativity: Ints


def read_own_claims(con: duckdb.DuckDBPyConnection, bundle: Bundle, units: Ints | None = None) -> OwnClaims:
    """Read the claims or returns that count in the experience rating of a product.

    Parameters
    ----------
    con
        Connection to the lake.
    bundle
        Model with its product.
    units
        Whose; everybody when absent.
    """
    own, rating = _rated(bundle)
    cut = largest_claim_minor(bundle.product)
    amount = "1" if cut is None else f"least(paid_minor, {cut})"
    if own.counts == "claims":
        query = f"""SELECT {own.key} AS unit, occurred_at AS moment, reported_at AS known, {amount} AS n
            FROM claims WHERE product = $code"""  # noqa: S608 - names are our own
        bound: dict[str, object] = {"code": bundle.product.code}
    else:
        query = f"""SELECT {own.key} AS unit, returned_at AS moment, returned_at AS known, 1 AS n
            FROM orders WHERE list_contains($kinds, category)"""  # noqa: S608 - names are our own
        bound = {"kinds": list(own.expected)}
    query = f"""SELECT unit, {_day("moment", rating)} AS day, epoch_us(known) AS known_us, n FROM ({query})
        WHERE unit IS NOT NULL AND moment >= {_since(rating)} {_among(units)}
        ORDER BY unit, known_us, day, n"""  # noqa: S608
    table = _table(con, query, bound, units)
    unit, day, known, number = (_integers(table, name) for name in ("unit", "day", "known_us", "n"))
    return OwnClaims(unit, known, rating.weights(day) * (number * rating.unit))


def read_terms(
    con: duckdb.DuckDBPyConnection,
    bundle: Bundle,
    spec: FeatureSpec,
    lake: Path | None = None,
    units: Ints | None = None,
) -> Terms:
    """Read the covers that count, each with what the model expects of it as of its own quote.

    Parameters
    ----------
    con, bundle, units
        As for `read_own_claims`.
    spec, lake
        Feature definitions, and where fitted features are stored.
    """
    own, rating = _rated(bundle)
    if own.counts == "returns":
        return _order_terms(con, own, rating, units)
    product = bundle.product
    factors = "".join(f', p."{factor.name}" AS "{factor.source}"' for factor in product.model_factors)
    names = {"customer_id": product.profile.customer, "seller_id": product.profile.seller}
    renamed = ", ".join(f'p.{name} AS "{column}"' for name, column in names.items())
    query = f"""SELECT unit, {_day("inception_at", rating)} AS first, {_day("expiry_at", rating)} AS last,
            p.quoted_at AS "{product.profile.as_of}", {renamed}{factors}
        FROM (SELECT *, {own.key} AS unit FROM policies) p
        WHERE product = $code AND unit IS NOT NULL AND expiry_at > {_since(rating)} {_among(units)}
        ORDER BY unit, inception_at, policy_id"""  # noqa: S608 - names come from a checked product file
    table = _table(con, query, {"code": product.code}, units)
    rates = []
    for start in range(0, table.num_rows, BATCH):
        part = attach_profiles(con, table.slice(start, BATCH), product, spec, lake)
        encoded = bundle.encoding.encode(part.combine_chunks())
        each = expected_per_cover(product, bundle.model, encoded.matrix)
        # Sold under an older product file, a cover may be outside what the model rates.
        each = np.where(encoded.refused, bundle.experience.average if bundle.experience else 0.0, each)
        rates.append(np.rint(each * rating.unit / product.cover.days).astype(np.int64))
    unit, first, last = (_integers(table, name) for name in ("unit", "first", "last"))
    return Terms(unit, first, last, np.concatenate(rates) if rates else np.zeros(0, np.int64))


def _order_terms(
    con: duckdb.DuckDBPyConnection, own: Experience, rating: ExperienceRating, units: Ints | None
) -> Terms:
    query = f"""SELECT unit, {_day("moment", rating)} AS first, category, count(*) AS orders
        FROM (SELECT {own.key} AS unit, ordered_at AS moment, category FROM orders)
        WHERE list_contains($kinds, category) AND unit IS NOT NULL
            AND moment >= {_since(rating)} {_among(units)}
        GROUP BY ALL ORDER BY ALL"""  # noqa: S608 - names are our own
    table = _table(con, query, {"kinds": list(own.expected)}, units)
    unit, first, orders = (_integers(table, name) for name in ("unit", "first", "orders"))
    rate = np.array([order_rate(own, rating, kind) for kind in table["category"].to_pylist()], dtype=np.int64)
    return Terms(unit, first, first + 1, rate * orders)


def order_rate(own: Experience, rating: ExperienceRating, category: str) -> int:
    """Give the returns expected of one order, in units of the sums; 0 for a category that does not count."""
    return round(own.expected.get(category, 0.0) * rating.unit)


def own_sums(
    rating: ExperienceRating, claims: OwnClaims, terms: Terms, unit: Ints, as_of_us: Ints
) -> OwnSums:
    """Give sums and relativity of units, each strictly before its own moment.

    Parameters
    ----------
    rating
        How sums become a relativity.
    claims, terms
        Of at least these units.
    unit, as_of_us
        Shape (n,): whose, and as of when; microseconds since 1970.
    """
    days = as_of_us // DAY_US - _since_day(rating)
    row, at = _pairs(unit, claims.unit)
    known = np.where(claims.known_us[at] < as_of_us[row], claims.amount[at], 0)
    own = _totals(row, known, len(unit))
    row, at = _pairs(unit, terms.unit)
    accrued = rating.accrued_by(terms.first[at], terms.last[at], days[row])
    expected = _totals(row, terms.rate[at] * accrued, len(unit))
    return OwnSums(own, expected, rating.relativities(own, expected, days))


def _pairs(wanted: Ints, unit: Ints) -> tuple[Ints, Ints]:
    """Pair each wanted unit with all its rows of a sorted column; both of shape (pairs,)."""
    begin, end = np.searchsorted(unit, wanted), np.searchsorted(unit, wanted, side="right")
    counts = end - begin
    row = np.repeat(np.arange(len(wanted)), counts)
    at = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(begin, counts)
    return row, at


def _totals(row: Ints, values: Ints, size: int) -> Ints:
    """Sum integers by row, which rises; exact while each total is (differences of wrapped sums are)."""
    sums = np.concatenate([np.zeros(1, np.int64), np.cumsum(values)])
    edges = np.searchsorted(row, np.arange(size + 1))
    return np.asarray(sums[edges[1:]] - sums[edges[:-1]], dtype=np.int64)


@dataclass(frozen=True)
class OwnHistories:
    """Own claims or returns of the rows that judge a model, as quotes of their time would have had them.

    Attributes
    ----------
    lake, spec
        Where covers and claims are, and the feature definitions.
    """

    lake: Path
    spec: FeatureSpec

    def relativities(self, bundle: Bundle, rows: pa.Table) -> Floats | None:
        """Give the relativity of each row strictly before its own time; None where the product keeps no sums.

        Parameters
        ----------
        bundle
            Model that expects, with the rating fitted on the learn rows.
        rows
            With the columns that `Profile` names: whose, and as of when.

        Returns
        -------
        numpy.ndarray or None
            Shape (n,); 1 is the average.
        """
        product = bundle.product
        rating = rating_of(product, bundle.experience)
        if rating is None or product.experience is None:
            return None
        profile, own = product.profile, product.experience
        whose = {"customer": profile.customer, "seller": profile.seller}[own.unit]
        unit = np.asarray(rows[whose].cast("int64").fill_null(-1).to_numpy(), dtype=np.int64)
        as_of = rows[profile.as_of].cast(pa.timestamp("us")).cast(pa.int64()).to_numpy()
        with connect(self.lake) as con:
            claims = read_own_claims(con, bundle, unit)
            terms = read_terms(con, bundle, self.spec, self.lake, unit)
        return own_sums(rating, claims, terms, unit, as_of).relativity / MILLION

    def of(self, bundles: Mapping[str, Bundle], rows: pa.Table) -> Callable[[str], Floats | None]:
        """Give the relativities of rows by the name of a model."""
        return lambda name: self.relativities(bundles[name], rows)


def _rated(bundle: Bundle) -> tuple[Experience, ExperienceRating]:
    own, rating = bundle.product.experience, rating_of(bundle.product, bundle.experience)
    assert own is not None  # noqa: S101, PT018 - asked only for products that keep sums
    assert rating is not None  # noqa: S101
    return own, rating


def _day(column: str, rating: ExperienceRating) -> str:
    return f"date_diff('day', DATE '{rating.since.isoformat()}', CAST({column} AS DATE))"


def _since_day(rating: ExperienceRating) -> int:
    return rating.since.toordinal() - EPOCH_DAY


def _since(rating: ExperienceRating) -> str:
    return f"TIMESTAMP '{rating.since.isoformat()}'"


def _among(units: Ints | None) -> str:
    return "" if units is None else f"AND unit IN (SELECT unit FROM {UNITS_TABLE})"  # noqa: S608


def _table(
    con: duckdb.DuckDBPyConnection, query: str, bound: dict[str, object], units: Ints | None
) -> pa.Table:
    if units is None:
        return con.sql(query, params=bound).to_arrow_table()
    con.register(UNITS_TABLE, pa.table({"unit": units}))
    try:
        return con.sql(query, params=bound).to_arrow_table()
    finally:
        con.unregister(UNITS_TABLE)


def _integers(table: pa.Table, name: str) -> Ints:
    return np.asarray(table[name].to_numpy(), dtype=np.int64)
