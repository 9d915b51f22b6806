"""Recommend products: purchase rate given eligibility, with reasons, never what is held or not allowed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from models.errors import ArtifactError
from pricing.factors import Text
from pricing.rules import failed_rules
from pricing.suitability import HELD as HELD
from pricing.suitability import NOT_IN_SCENE as NOT_IN_SCENE
from pricing.suitability import cover_facts

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    import duckdb

    from pricing.product import Product
    from pricing.rules import Fact, Rule

FORMAT = "premia-rates-1"
MONTHS = 12
# A segment goes half its way from the product's overall rate once it has had this many purchases.
PRIOR_PURCHASES = 10.0
# Customers are sampled by id, so that a million of them cost no more than these.
MOST_CUSTOMERS = 200_000
AGE_ENDS = (18, 25, 35, 45, 55, 65)
TIER_NAMES = {
    1: Text(en="tier-1 cities", zh="一线城市"),
    2: Text(en="tier-2 cities", zh="二线城市"),
    3: Text(en="tier-3 cities", zh="三线城市"),
    4: Text(en="tier-4 cities", zh="四线城市"),
    5: Text(en="tier-5 cities", zh="五线城市"),
}

# Facts of a customer at the start of a month, by the names that rules use (see `failed_rules`).
FACTS = {
    "customer.age": (
        "date_part('year', m.month)::INT - date_part('year', c.birth_date)::INT"
        " - (strftime(m.month, '%m%d') < strftime(c.birth_date, '%m%d'))::INT"
    ),
    "customer.owns_shop": "c.owned_seller_id IS NOT NULL",
    "customer.city_tier": "c.city_tier",
    "customer.region": "c.region",
    "customer.tenure_days": "date_diff('day', c.registered_at, m.month)",
}


@dataclass(frozen=True)
class Segment:
    """Purchases of one product in one segment.

    Attributes
    ----------
    months
        Customer-months in which the product could be bought.
    bought
        Those in which it was.
    """

    months: int
    bought: int


@dataclass(frozen=True)
class Context:
    """Where and when is asked: all that an order without personalisation knows beside the rates of everybody.

    Attributes
    ----------
    month
        1 to 12; None where not known.
    channel
        Through whom; None where not known.
    page
        Product whose page is open; None where none is.
    """

    month: int | None = None
    channel: str | None = None
    page: str | None = None


@dataclass(frozen=True)
class PurchaseRates:
    """Purchases per eligible customer-month, by product and segment.

    Attributes
    ----------
    as_of
        Nothing later was looked at, ISO 8601.
    segments
        Product -> segment -> counts.
    contexts
        Product -> `month:1` to `month:12`, `channel:<name>` -> purchases of everybody in the last year.
    """

    as_of: str
    segments: dict[str, dict[str, Segment]]
    contexts: dict[str, dict[str, int]] = field(default_factory=dict)

    def in_context(self, product: str, context: Context) -> float:
        """Give the product's rate over all customers in a month and a channel.

        The overall rate times (purchases there + 10) / (those expected there if the product were bought like
        all others + 10), for the month and for the channel.
        """
        rate = self.overall(product)
        own = self.contexts.get(product, {})
        for kind, value in (("month", context.month), ("channel", context.channel)):
            named = [
                name for found in self.contexts.values() for name in found if name.startswith(f"{kind}:")
            ]
            if value is None or f"{kind}:{value}" not in named:
                continue
            total = sum(self._bought(name) for name in set(named))
            mine = sum(count for name, count in own.items() if name.startswith(f"{kind}:"))
            expected = mine * self._bought(f"{kind}:{value}") / total
            rate *= (own.get(f"{kind}:{value}", 0) + PRIOR_PURCHASES) / (expected + PRIOR_PURCHASES)
        return rate

    def _bought(self, name: str) -> int:
        return sum(found.get(name, 0) for found in self.contexts.values())

    def overall(self, product: str) -> float:
        """Give the product's rate over all segments; zero without history."""
        found = self.segments.get(product, {}).values()
        months = sum(segment.months for segment in found)
        return sum(segment.bought for segment in found) / months if months else 0.0

    def rate(self, product: str, segment: str) -> float:
        """Give the rate of a segment, drawn towards the overall rate where the segment is thin."""
        overall = self.overall(product)
        here = self.segments.get(product, {}).get(segment, Segment(0, 0))
        if not overall:
            return 0.0
        prior = PRIOR_PURCHASES / overall
        return (here.bought + PRIOR_PURCHASES) / (here.months + prior)

    def to_json(self) -> dict[str, Any]:
        """Give the rates as a JSON object."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> PurchaseRates:
        """Read what `to_json` gave.

        Raises
        ------
        ArtifactError
            If the content is of another form.
        """
        if content.get("format") != FORMAT:
            raise ArtifactError(
                f"purchase rates: format {content.get('format')!r} is unknown; allowed: {FORMAT}"
            )
        try:
            segments = {
                product: {
                    name: Segment(int(item["months"]), int(item["bought"])) for name, item in found.items()
                }
                for product, found in content["segments"].items()
            }
            contexts = {
                str(product): {str(name): int(count) for name, count in found.items()}
                for product, found in content.get("contexts", {}).items()
            }
            return cls(str(content["as_of"]), segments, contexts)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ArtifactError(f"purchase rates: {error!r}") from error

    def save(self, path: Path) -> None:
        """Write the rates as JSON, at once or not at all."""
        staged = path.with_name(f".{path.name}.part")
        staged.write_text(json.dumps(self.to_json(), indent=1) + "\n", encoding="utf-8")
        staged.replace(path)

    @classmethod
    def load(cls, path: Path) -> PurchaseRates:
        """Read what `save` wrote (see `from_json`)."""
        try:
            return cls.from_json(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, json.JSONDecodeError) as error:
            raise ArtifactError(f"{path.name} cannot be read: {error}") from error


@dataclass(frozen=True)
class Recommendation:
    """A product that suits a customer.

    Attributes
    ----------
    product, name
        Code and name.
    rate
        Share of eligible customers like this one who buy it in a month.
    reasons
        What people read.
    margin_basis
        Margin that moved the order: of this `customer`, of the `product` on average, or `none`.
    """

    product: str
    name: Text
    rate: float
    reasons: tuple[Text, ...]
    margin_basis: Literal["customer", "product", "none"] = "none"


@dataclass(frozen=True)
class Excluded:
    """A product that was not considered, with reason codes (rule codes, `already_held`, `not_in_scene`)."""

    product: str
    codes: tuple[str, ...]


@dataclass(frozen=True)
class Ranking:
    """Offers, best first, and what was left out."""

    offers: tuple[Recommendation, ...]
    excluded: tuple[Excluded, ...]


def rank(
    facts: Mapping[str, Fact],
    held: Collection[str],
    products: Iterable[Product],
    rates: PurchaseRates | None,
    k: int,
    *,
    scene: str | None = None,
    since: Mapping[str, int] | None = None,
) -> Ranking:
    """Rank the products that a customer may buy and does not hold.

    The best product of each need comes first, then the others, each by purchase rate.

    Parameters
    ----------
    facts
        `customer.*` facts.
    held
        Codes of products in force.
    products
        Products on offer.
    rates
        Purchase rates; without them the order is that of the codes.
    k
        Most offers.
    scene
        `order` or `trip` when asked inside such a purchase; covers per order or trip are offered only there.
    since
        Days since the last cover of each product began.
    """
    excluded: list[Excluded] = []
    found: list[tuple[Product, float]] = []
    segment = segment_of(facts)
    for product in products:
        codes = exclusion_codes(product, facts, held, scene, since)
        if codes:
            excluded.append(Excluded(product.code, codes))
        else:
            found.append((product, rates.rate(product.code, segment) if rates else 0.0))
    found.sort(key=lambda item: (-item[1], item[0].code))
    seen: set[str] = set()
    first: list[tuple[Product, float]] = []
    rest: list[tuple[Product, float]] = []
    for product, rate in found:
        (rest if product.offer.need in seen else first).append((product, rate))
        seen.add(product.offer.need)
    offers = tuple(
        Recommendation(product.code, product.name, rate, _reasons(product, facts, rates))
        for product, rate in (first + rest)[: max(k, 0)]
    )
    return Ranking(offers, tuple(sorted(excluded, key=lambda item: item.product)))


def exclusion_codes(
    product: Product,
    facts: Mapping[str, Fact],
    held: Collection[str],
    scene: str | None,
    since: Mapping[str, int] | None = None,
) -> tuple[str, ...]:
    """Say why a product must not be offered; empty when it may be.

    Parameters
    ----------
    product
        Product file.
    facts
        `customer.*` facts, and `needs.*` as answered.
    held, since
        Products in force or about to be, and days since the last cover of each began.
    scene
        `order` or `trip` when asked inside such a purchase.
    """
    known = {**facts, **cover_facts(product, held, since or {}, scene=scene)}
    return tuple(dict.fromkeys(outcome.code for outcome in failed_rules(product.admission, known)))


def segment_of(facts: Mapping[str, Fact]) -> str:
    """Name the segment of a customer: age band and city tier."""
    age, tier = facts.get("customer.age"), facts.get("customer.city_tier")
    band = "?" if not isinstance(age, int | float) else str(sum(age >= end for end in AGE_ENDS))
    return f"{band}|{int(tier) if isinstance(tier, int | float) else '?'}"


def _reasons(product: Product, facts: Mapping[str, Fact], rates: PurchaseRates | None) -> tuple[Text, ...]:
    overall = rates.overall(product.code) if rates else 0.0
    if rates is None or not overall:
        return (Text(en="You may buy it; nobody has bought it yet.", zh="您符合投保条件;暂无购买记录。"),)
    segment = segment_of(facts)
    ratio = rates.rate(product.code, segment) / overall
    who = _people(facts)
    return (
        Text(
            en=f"{who.en} buy it {ratio:.1f} times as often as the average customer.",
            zh=f"{who.zh}的购买率是平均水平的{ratio:.1f}倍。",
        ),
    )


def _people(facts: Mapping[str, Fact]) -> Text:
    age, tier = facts.get("customer.age"), facts.get("customer.city_tier")
    en, zh = "Customers", "客户"
    if isinstance(tier, int | float) and int(tier) in TIER_NAMES:
        name = TIER_NAMES[int(tier)]
        en, zh = f"{en} in {name.en}", f"{name.zh}{zh}"
    if isinstance(age, int | float):
        low, high = _band(age)
        if high is None:
            en, zh = f"{en} aged {low} and over", f"{low}岁及以上的{zh}"
        else:
            en, zh = f"{en} aged {low} to {high - 1}", f"{low}至{high - 1}岁的{zh}"
    return Text(en=en, zh=zh)


def _band(age: float) -> tuple[int, int | None]:
    position = sum(age >= end for end in AGE_ENDS)
    return (
        AGE_ENDS[position - 1] if position else 0,
        AGE_ENDS[position] if position < len(AGE_ENDS) else None,
    )


def fit_rates(
    con: duckdb.DuckDBPyConnection, products: Sequence[Product], as_of: dt.datetime
) -> PurchaseRates:
    """Count purchases per customer-month in which a product was allowed and not in force.

    A row is a customer at the start of one of the last full months before `as_of`; eligibility is decided by
    the product's own rules on the facts of that day, and a purchase is a new policy quoted within the month.

    Parameters
    ----------
    con
        Connection with the views ``customers`` and ``policies``.
    products
        Products on offer.
    as_of
        Nothing later is looked at, naive UTC.
    """
    segments: dict[str, dict[str, Segment]] = {}
    for product in products:
        counts: dict[str, list[int]] = {}
        rules = [rule for rule in (*product.eligibility, *product.suitability) if rule.field in FACTS]
        names = _fields(rules)
        for row in con.execute(
            _rates_query(product, names), {"code": product.code, "as_of": as_of}
        ).fetchall():
            facts: dict[str, Fact] = dict(zip(names, row, strict=False))
            if failed_rules(rules, facts):
                continue
            held = counts.setdefault(segment_of(facts), [0, 0])
            held[0] += int(row[-2])
            held[1] += int(row[-1])
        segments[product.code] = {name: Segment(*found) for name, found in sorted(counts.items())}
    return PurchaseRates(as_of.isoformat(), segments, _contexts(con, segments, as_of))


def _contexts(
    con: duckdb.DuckDBPyConnection, products: Collection[str], as_of: dt.datetime
) -> dict[str, dict[str, int]]:
    """Count new policies of the last year by month and channel; nothing is known of who bought them."""
    columns = {str(row[0]) for row in con.execute("DESCRIBE policies").fetchall()}
    kinds = {"month": "date_part('month', quoted_at)::INT"}
    if "channel" in columns:
        kinds["channel"] = "channel"
    found: dict[str, dict[str, int]] = {}
    for kind, sql in kinds.items():
        query = f"""
            SELECT product, {sql} AS place, count(*) FROM policies
            WHERE renewal_of IS NULL AND quoted_at < $as_of AND place IS NOT NULL
                AND quoted_at >= $as_of::TIMESTAMP - INTERVAL {MONTHS} MONTH GROUP BY ALL ORDER BY ALL
        """  # noqa: S608 - our own words
        for product, place, count in con.execute(query, {"as_of": as_of}).fetchall():
            if product in products:
                found.setdefault(product, {})[f"{kind}:{place}"] = int(count)
    return found


def _fields(rules: Iterable[Rule]) -> list[str]:
    used = [rule.field for rule in rules]
    return list(dict.fromkeys(["customer.age", "customer.city_tier", *used]))


def _rates_query(product: Product, names: Sequence[str]) -> str:
    facts = ", ".join(f"{FACTS[name]} AS fact{i}" for i, name in enumerate(names))
    groups = ", ".join(f"fact{i}" for i in range(len(names)))
    in_force = "f.customer_id IS NULL" if product.offer.one_in_force else "true"
    # Identifiers are our own; values are bound.
    return f"""
        WITH months AS (
            SELECT unnest(generate_series(
                date_trunc('month', $as_of::TIMESTAMP) - INTERVAL {MONTHS} MONTH,
                date_trunc('month', $as_of::TIMESTAMP) - INTERVAL 1 MONTH, INTERVAL 1 MONTH)) AS month
        ),
        sampled AS (
            SELECT * FROM customers
            WHERE hash(customer_id) % greatest((SELECT count(*) FROM customers) // {MOST_CUSTOMERS}, 1) = 0
        ),
        bought AS (
            SELECT DISTINCT customer_id, date_trunc('month', quoted_at) AS month FROM policies
            WHERE product = $code AND renewal_of IS NULL AND quoted_at < $as_of
        ),
        force AS (
            SELECT DISTINCT p.customer_id, m.month FROM policies p
            JOIN months m ON p.inception_at < m.month AND p.expiry_at > m.month
            WHERE p.product = $code
        )
        SELECT {groups}, count(*) AS rows, count(b.customer_id) AS bought
        FROM (
            SELECT c.customer_id, m.month, {facts} FROM sampled c JOIN months m ON c.registered_at < m.month
        ) r
        LEFT JOIN bought b USING (customer_id, month)
        LEFT JOIN force f USING (customer_id, month)
        WHERE {in_force}
        GROUP BY {groups}
        ORDER BY {groups}
    """  # noqa: S608
