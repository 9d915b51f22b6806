"""Move the service's quotes with what became of them into the lake, from which demand and offers are learned.

A quote is moved when its customer's answer is known: accepted, declined, or expired unanswered. What the
sandbox asked, what had no price at first, names nobody, was revoked or gave way to a newer quote is nobody's
answer to a price and stays out; so do quotes of erased customers. All quotes of the source `service` are
replaced together by one manifest: so each is there once, and the job can be killed at any moment.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from data.contracts import contract
from data.service_rows import replace_rows
from pricing.plan import MILLION
from pricing.quote_states import current
from serving.compose import read_products
from serving.records import open_sync_records

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from data.service_rows import Replaced
    from serving.records import QuoteRecord
    from serving.settings import Settings

SOURCE = "service"
ANSWERS = {"accepted": True, "declined": False, "expired": False}
# Beside the contract: the quote's own id, and the offers that it came of.
EXTRA = ("service_quote_id", "exposure_id")
AT_ONCE = 500


@dataclass(frozen=True)
class MovedQuotes:
    """What became of the quotes of the service.

    Attributes
    ----------
    accepted, refused
        Rows of the lake with either answer.
    left_out
        Quotes that are not there, by why.
    replaced
        What the table took.
    """

    accepted: int
    refused: int
    left_out: dict[str, int]
    replaced: Replaced


def ingest_quotes(settings: Settings, now: datetime) -> MovedQuotes:
    """Bring the table `quotes` to what customers have answered until now (UTC without zone)."""
    left_out: Counter[str] = Counter()
    tables = []
    answers: Counter[bool] = Counter()
    with closing(open_sync_records(settings)) as records:
        for product in sorted(read_products(settings.products)):
            quotes = list(records.of_product(product))
            rows = []
            for start in range(0, len(quotes), AT_ONCE):
                part = quotes[start : start + AT_ONCE]
                last = records.last_steps([quote.quote_id for quote in part])
                for quote in part:
                    step = last.get(quote.quote_id)
                    state = step.state if step else quote.status
                    why = _why_not(quote, state, now)
                    if why:
                        left_out[why] += 1
                    else:
                        rows.append(_row(quote, ANSWERS[current(state, quote.expires_at, now)]))  # type: ignore[arg-type]
            if rows:
                tables.append(_table(rows))
                answers.update(row["accepted"] for row in rows)
    replaced = replace_rows(settings.lake, "quotes", SOURCE, tables, created=now)
    return MovedQuotes(answers[True], answers[False], dict(sorted(left_out.items())), replaced)


def lake_id(quote_id: str) -> int:
    """Give the id of a quote in the lake, 63 bits of the hash of its own."""
    return int.from_bytes(hashlib.blake2b(quote_id.encode(), digest_size=8).digest(), "big") >> 1


def _why_not(quote: QuoteRecord, state: str, now: datetime) -> str:
    if quote.price_minor is None:
        return "no price"
    if quote.body["answer"]["customer_id"] is None:
        return "no customer"
    found = current(state, quote.expires_at, now)  # type: ignore[arg-type]
    if found in ANSWERS:
        return ""
    return "not answered yet" if found in {"quoted", "referred"} else str(found)


def _row(quote: QuoteRecord, accepted: bool) -> dict[str, Any]:  # noqa: FBT001 - a column
    answer, tested = quote.body["answer"], quote.body.get("price_test") or {"takes_part": False}
    own = tested["assignment"] if tested["takes_part"] else None
    return {
        **answer["risk"],
        "quote_id": lake_id(quote.quote_id),
        "product": quote.product,
        "customer_id": answer["customer_id"],
        "seller_id": answer["seller_id"],
        "order_id": None,
        "quoted_at": quote.created_at,
        "channel": quote.channel,
        "experiment": own["experiment"] if own else None,
        "cell": own["cell"] if own else None,
        "price_multiplier": own["multiplier"] / MILLION if own else None,
        "technical_minor": tested["technical_minor"] if own else quote.price_minor,
        "price_minor": quote.price_minor,
        "accepted": accepted,
        "policy_id": None,
        "service_quote_id": quote.quote_id,
        "exposure_id": quote.body["request"].get("exposure_id"),
    }


def _table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    rules = {column.name: column.type for column in contract("quotes").columns}
    rules |= dict.fromkeys(EXTRA, pa.string())
    names = [*rules, *dict.fromkeys(name for row in rows for name in row if name not in rules)]
    return pa.table({name: pa.array([row.get(name) for row in rows], rules.get(name)) for name in names})
