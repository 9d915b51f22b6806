"""Training tables: policies and claims of the lake as of a cut, and profiles joined to any table."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa

from features.profiles import build_profiles
from models.errors import TrainingDataError
from models.fitted import attach_fitted, ensure_fitted, months_of
from pricing.errors import nearest
from pricing.money import to_minor

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb

    from features.spec import FeatureSpec
    from pricing.product import Product, Profile

MICROSECONDS_A_DAY = 86_400_000_000


def training_table(con: duckdb.DuckDBPyConnection, product: Product, as_of_end: dt.datetime) -> pa.Table:
    """Build a training table from the policies and claims of the lake, as known at a cut.

    Exposure of an annual cover is earned up to the developed time, as a share of the full cover. That time
    lies the product's `development_days` before the cut, so that claims had time to be reported. Covers of an
    order or a trip, and events, count as a whole: only those that have run off by then are taken. Claims are
    those that occurred before the developed time and were reported before the cut.

    Parameters
    ----------
    con
        Connection with the views ``policies`` and ``claims``.
    product
        Product file; its factors are columns of the policies.
    as_of_end
        The cut, naive UTC; nothing later is looked at.

    Returns
    -------
    pyarrow.Table
        ``policy_id``, ``customer_id``, ``seller_id``, ``quoted_at``, one column per factor (its source),
        ``exposure``, ``claim_count``, ``claim_amount_minor``, ``claimed``; ordered by time and policy. With a
        large-loss threshold also ``claim_amount_capped_minor``, where each claim is cut at it; with
        development by share also ``reported_share``, which the exposure is multiplied by.

    Raises
    ------
    TrainingDataError
        If the policies do not hold a factor, or none is left.
    """
    present = [str(row[0]) for row in con.execute("SELECT * FROM policies LIMIT 0").description or []]
    absent = [factor.name for factor in product.factors if factor.name not in present]
    if absent:
        raise TrainingDataError(
            [f"the policies have no column {name!r} ({nearest(name, present)})" for name in absent]
        )
    developed = as_of_end - dt.timedelta(days=product.response.development_days)
    bound: dict[str, object] = {"code": product.code, "cut": as_of_end, "developed": developed}
    if product.response.large_loss is not None:
        bound["large"] = to_minor(product.response.large_loss, product.currency)
    table = con.sql(_policies_query(product), params=bound).to_arrow_table()
    if not table.num_rows:
        raise TrainingDataError(
            [f"the lake holds no policy of {product.code!r} that is known at {as_of_end}"]
        )
    if product.response.development == "share":
        return _with_reported_share(con, product, table, bound)
    return table


def _with_reported_share(
    con: duckdb.DuckDBPyConnection, product: Product, table: pa.Table, bound: dict[str, object]
) -> pa.Table:
    """Multiply exposure by the share of its claims that is reported at the cut."""
    from models.preparation.development import report_pattern, reported_share  # here: serving never needs it

    if product.cover.per != "year":
        raise TrainingDataError(["development = 'share' needs covers of a year: others count as a whole"])
    claims = con.execute(
        "SELECT occurred_at, reported_at FROM claims WHERE product = $code AND reported_at < $cut "
        "AND occurred_at < $cut",
        {name: bound[name] for name in ("code", "cut")},
    ).df()
    terms = con.execute(
        "SELECT policy_id, inception_at, expiry_at FROM policies WHERE product = $code AND quoted_at < $cut",
        {name: bound[name] for name in ("code", "cut")},
    ).df()
    terms = terms.set_index("policy_id").loc[table["policy_id"].to_numpy()].reset_index()
    cut = pd.Timestamp(str(bound["cut"]))
    pattern = report_pattern(claims["occurred_at"], claims["reported_at"], cut)
    share = reported_share(terms["inception_at"], terms["expiry_at"], cut, pattern)
    place = table.column_names.index("exposure")
    exposure = table["exposure"].to_numpy() * share
    return table.set_column(place, "exposure", pa.array(exposure)).append_column(
        "reported_share", pa.array(share)
    )


def _policies_query(product: Product) -> str:
    factors = "".join(f', p."{f.name}" AS "{f.source}"' for f in product.factors)
    whole = product.cover.per != "year" or product.response.kind == "event"
    span = product.cover.days * MICROSECONDS_A_DAY
    capped = column = ""
    if product.response.large_loss is not None:
        capped = ", sum(least(paid_minor, $large)) AS capped"
        column = "coalesce(k.capped, 0)::BIGINT AS claim_amount_capped_minor,"
    # Identifiers come from a checked product file; values are bound.
    return f"""
        WITH known AS (
            SELECT policy_id, count(*) AS claims, sum(paid_minor) AS paid{capped} FROM claims
            WHERE product = $code AND reported_at < $cut AND occurred_at < $developed GROUP BY policy_id
        )
        SELECT p.policy_id, p.customer_id, p.seller_id, p.quoted_at{factors},
            least(date_diff('microsecond', p.inception_at, least(p.expiry_at, $developed)) / {span}::DOUBLE,
                  {product.exposure.maximum!r}) AS exposure,
            coalesce(k.claims, 0)::BIGINT AS claim_count,
            coalesce(k.paid, 0)::BIGINT AS claim_amount_minor, {column}
            (k.claims IS NOT NULL)::TINYINT AS claimed
        FROM policies p LEFT JOIN known k USING (policy_id)
        WHERE p.product = $code AND p.quoted_at < $cut AND p.inception_at < $developed
            {"AND p.expiry_at <= $developed" if whole else ""}
        ORDER BY p.quoted_at, p.policy_id
    """  # noqa: S608


def attach_profiles(
    con: duckdb.DuckDBPyConnection,
    table: pa.Table,
    product: Product,
    spec: FeatureSpec,
    root: Path | None = None,
) -> pa.Table:
    """Add the profile and fitted features of a product to a table, each row as of its own time.

    Fitted features are those of the first of the row's month; a month that has not been fitted is fitted now.

    Parameters
    ----------
    con
        Connection to the lake that holds the histories.
    table
        Has the columns that `Profile.customer`, `Profile.seller` (if sellers matter) and `Profile.as_of`
        name.
    product
        Names the features.
    spec
        Their definitions.
    root
        The lake, where fitted features are stored; needed only when the product names some.

    Raises
    ------
    TrainingDataError
        If a key or the time is absent, or the product names fitted features and no lake is given.
    """
    table = _with_features(con, table, product.profile, spec)
    fitted = [name for name in product.profile.fitted if name not in table.column_names]
    if not fitted:
        return table
    if root is None:
        raise TrainingDataError([f"{product.code} reads the fitted features {fitted}, which need the lake"])
    as_of = product.profile.as_of
    if as_of in table.column_names:
        ensure_fitted(con, root, months_of(table[as_of].cast(pa.timestamp("us"))))
    return attach_fitted(con, root, table, product.profile, fitted)


def _with_features(
    con: duckdb.DuckDBPyConnection, table: pa.Table, profile: Profile, spec: FeatureSpec
) -> pa.Table:
    wanted = [name for name in profile.features if name not in table.column_names]
    if not wanted:
        return table
    keys = {"customer_id": profile.customer, "seller_id": profile.seller}
    needed = {key for entity in spec.entities_of(wanted) for key in entity.keys}
    columns: dict[str, pa.ChunkedArray | pa.Array] = {"row_id": pa.array(np.arange(table.num_rows))}
    problems = []
    for key in sorted(needed):
        name = keys.get(key, key)
        if name in table.column_names:
            columns[key] = table[name].cast(pa.int64()) if key.endswith("_id") else table[name]
        else:
            problems.append(
                f"column {name!r} (whose history?) is absent ({nearest(name, table.column_names)})"
            )
    if profile.as_of in table.column_names:
        columns["as_of"] = table[profile.as_of].cast(pa.timestamp("us"))
    else:
        problems.append(f"column {profile.as_of!r} (history as of when?) is absent")
    if problems:
        raise TrainingDataError(problems)
    profiles = build_profiles(con, pa.table(columns), spec, wanted)
    for name in wanted:
        table = table.append_column(name, profiles[name])
    return table
