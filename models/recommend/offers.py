"""Offers out of propensities: floor, one product a need first, margin as a bounded tilt, reasons people read.

Suitability decides which products are offered, margin only in which order: the first k by propensity are
chosen, and these alone are put in order of propensity times margin, where the margin of a product counts for
at least half and at most twice that of the middle product. So margin never brings up a product that
propensity ranks below k. What a customer is far less likely to buy than others (below a quarter of the
product's rate) is not offered at all; the answer may be nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from models.recommend.propensity import HAD, HELD
from models.recommend.ranking import Context, Excluded, Ranking, Recommendation, exclusion_codes
from pricing.factors import Text

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from features.spec import FeatureSpec
    from models.recommend.propensity import PropensityModel
    from models.recommend.ranking import PurchaseRates
    from models.recommend.task import Array, Mask, Rows
    from pricing.product import Product
    from pricing.rules import Fact

UNLIKELY = "unlikely"
FLOOR = 0.25
LEAST_MARGIN, MOST_MARGIN = 0.5, 2.0
SHOWN_REASONS = 2
# Log-odds from which an input is worth naming: one tenth more often.
WORTH = 0.1
FACT_LABELS = {
    "customer.age": Text(en="Age", zh="年龄"),
    "customer.tenure_days": Text(en="Days since registration", zh="注册天数"),
    "customer.owns_shop": Text(en="You own a shop", zh="您经营店铺"),
}
WORDS = {
    HELD: ("holds", "已有", "does not hold", "未持有"),
    HAD: ("has bought", "曾购买", "has never bought", "从未购买"),
}
# What a reason may name: neither claims nor returns nor where somebody lives.
BARRED = ("claims_", "return", "customer.city_tier", "customer.region")


@dataclass(frozen=True)
class OfferRules:
    """How propensities of some products become offers; arrays in the order of the products.

    Attributes
    ----------
    floors
        Least propensity that is offered, shape (m,).
    weights
        Weight of the margin, from 0.5 to 2, shape (m,).
    needs
        Number of the need group, shape (m,).
    """

    floors: Array
    weights: Array
    needs: Rows

    @classmethod
    def of(
        cls,
        model: PropensityModel,
        products: Sequence[Product],
        tilt: float = 1.0,
        margins: Mapping[str, float] | None = None,
    ) -> OfferRules:
        """Take floors and margins from the model; `tilt` is the power of the margin, 0 leaves it out.

        Expected margins of the customer's own risks (`margins`, minor units) stand in for the averages of
        their products; the middle that all are measured by stays that of the averages.
        """
        found = [model.products.get(product.code) for product in products]
        averages = [one.margin_minor if one else None for one in found]
        known = [margin for margin in averages if margin is not None]
        middle = max(float(np.median(known)), 1.0) if known else 1.0
        own = [
            (margins or {}).get(product.code, one) for product, one in zip(products, averages, strict=True)
        ]
        weights = [1.0 if margin is None else margin / middle for margin in own]
        groups = list(dict.fromkeys(product.offer.need for product in products))
        return cls(
            np.array([FLOOR * one.rate if one else 0.0 for one in found]),
            np.clip(np.array(weights), LEAST_MARGIN, MOST_MARGIN) ** tilt,
            np.array([groups.index(product.offer.need) for product in products], dtype=np.intp),
        )


def order_offers(p: Array, open_: Mask, rules: OfferRules, k: int) -> Rows:
    """Give the products offered to each customer, best first; -1 where there are fewer than k.

    Parameters
    ----------
    p, open_
        Propensities, and what may be offered, shape (n, m).
    rules
        See `OfferRules`.
    k
        Most offers.

    Returns
    -------
    ndarray
        Positions, shape (n, min(k, m)).
    """
    k = max(min(k, p.shape[1]), 0)
    offered = open_ & (p >= rules.floors)
    shown = np.where(offered, p, -1.0)
    first = offered.copy()
    for need in np.flatnonzero(np.bincount(rules.needs, minlength=1) > 1):
        group = np.flatnonzero(rules.needs == need)
        best = group[np.argmax(shown[:, group], axis=1)]
        first[:, group] &= group == best[:, None]
    chosen = np.argsort(-(shown + 2.0 * first), axis=1, kind="stable")[:, :k]
    value = np.take_along_axis(shown * rules.weights + 4.0 * first, chosen, axis=1)
    inside = np.take_along_axis(offered, chosen, axis=1)
    again = np.argsort(-np.where(inside, value, -np.inf), axis=1, kind="stable")
    chosen = np.take_along_axis(chosen, again, axis=1)
    return np.where(np.take_along_axis(inside, again, axis=1), chosen, -1)


def rank_personal(
    model: PropensityModel,
    spec: FeatureSpec,
    products: Sequence[Product],
    facts: Mapping[str, Fact],
    features: Mapping[str, Any],
    held: Collection[str],
    had: Collection[str],
    k: int,
    *,
    scene: str | None = None,
    since: Mapping[str, int] | None = None,
    margins: Mapping[str, float] | None = None,
) -> Ranking:
    """Rank the products that a customer may buy by propensity, with reasons.

    Parameters
    ----------
    model, spec
        Propensities, and the feature definitions that name their inputs.
    products
        Products on offer.
    facts, features
        `customer.*` facts, and features as of now, None where not known or withheld.
    held, had
        Codes of products in force, and of all that were ever bought; codes that the catalogue lacks are
        ignored.
    k, scene, since
        See `models.recommend.rank`.
    margins
        Expected margins of the customer's own risks, see `OfferRules.of`.
    """
    products = sorted(products, key=lambda product: product.code)
    codes = [exclusion_codes(product, facts, held, scene, since) for product in products]
    if not products:
        return Ranking((), ())
    values = model.row(facts, features, held, had)
    p = model.scores_one(values[0].tolist(), [product.code for product in products])
    rules = OfferRules.of(model, products, margins=margins)
    open_ = np.array([[not found for found in codes]])
    best = [int(at) for at in order_offers(p, open_, rules, k)[0] if at >= 0]
    offers = tuple(
        Recommendation(
            products[at].code,
            products[at].name,
            float(p[0, at]),
            _reasons(model, products[at].code, values, spec, products),
            _basis(model, products[at].code, margins or {}),
        )
        for at in best
    )
    excluded = [
        Excluded(product.code, found or (UNLIKELY,))
        for at, (product, found) in enumerate(zip(products, codes, strict=True))
        if found or p[0, at] < rules.floors[at]
    ]
    return Ranking(offers, tuple(excluded))


def _basis(
    model: PropensityModel, code: str, margins: Mapping[str, float]
) -> Literal["customer", "product", "none"]:
    if code in margins:
        return "customer"
    one = model.products.get(code)
    return "none" if one is None or one.margin_minor is None else "product"


def rank_general(
    products: Sequence[Product],
    excluded: Sequence[Excluded],
    rates: PurchaseRates | None,
    k: int,
    context: Context | None = None,
) -> Ranking:
    """Rank products for a customer who has opted out of profiling: by how often anybody buys them.

    Nothing personal comes in: `products` are those that the contract terms allow, `rates` those of all
    customers together, `context` month, channel and page; the product whose page is open comes first.
    """
    where = context or Context()
    rate = {one.code: rates.in_context(one.code, where) if rates else 0.0 for one in products}
    ranked = sorted(products, key=lambda one: (one.code != where.page, -rate[one.code], one.code))
    seen: set[str] = set()
    first: list[Product] = []
    rest: list[Product] = []
    for product in ranked:
        (rest if product.offer.need in seen else first).append(product)
        seen.add(product.offer.need)
    why = (Text(en="Often bought by customers who may buy it.", zh="符合投保条件的客户常购买。"),)
    offers = tuple(
        Recommendation(product.code, product.name, rate[product.code], why)
        for product in (first + rest)[: max(k, 0)]
    )
    return Ranking(offers, tuple(sorted(excluded, key=lambda item: item.product)))


def as_drawn(
    products: Sequence[Product], excluded: Sequence[Excluded], rates: PurchaseRates | None
) -> Ranking:
    """Offer products in the order in which they were drawn at random."""
    why = (Text(en="One of the products that you may buy.", zh="您可投保的产品之一。"),)
    return Ranking(
        tuple(
            Recommendation(one.code, one.name, rates.overall(one.code) if rates else 0.0, why)
            for one in products
        ),
        tuple(sorted(excluded, key=lambda item: item.product)),
    )


def _reasons(
    model: PropensityModel, code: str, values: Array, spec: FeatureSpec, products: Sequence[Product]
) -> tuple[Text, ...]:
    """Name the inputs that raise the propensity most, of those that may be named."""
    plain = Text(en="Chosen among the products that you may buy.", zh="从您可投保的产品中选出。")
    if code not in model.products:
        return (plain,)
    added = model.products[code].tables.contributions_one(values[0].tolist())
    strongest = sorted(zip(added, model.inputs, values[0].tolist(), strict=True), reverse=True)
    texts = [
        _reason(name, value, effect, spec, products)
        for effect, name, value in strongest
        if effect >= WORTH and not math.isnan(value) and not name.startswith(BARRED)
    ]
    return tuple(texts[:SHOWN_REASONS]) or (plain,)


def _reason(name: str, value: float, effect: float, spec: FeatureSpec, products: Sequence[Product]) -> Text:
    times = f"{math.exp(effect):.1f}"
    if name.startswith((HELD, HAD)):
        kind, code = name.split(".", 1)
        has_en, has_zh, lacks_en, lacks_zh = WORDS[f"{kind}."]
        label = next((product.name for product in products if product.code == code), Text(en=code, zh=code))
        who = Text(en=f"{has_en} {label.en}", zh=f"{has_zh}{label.zh}")
        if not value:
            who = Text(en=f"{lacks_en} {label.en}", zh=f"{lacks_zh}{label.zh}")
        return Text(
            en=f"Who {who.en} buys it {times} times as often.",
            zh=f"{who.zh}的客户购买率约为平均的{times}倍。",
        )
    if name in FACT_LABELS:
        label, shown = FACT_LABELS[name], "" if name == "customer.owns_shop" else f"{value:.0f}"
    else:
        item = spec.get(name)
        label = Text(en=item.description.en, zh=item.description.zh)
        shown = f"{value / 100:.2f}" if item.unit == "minor" else f"{value:.4g}"
    return Text(
        en=f"{label.en}{f' ({shown})' if shown else ''}: bought {times} times as often.",
        zh=f"{label.zh}{f'({shown})' if shown else ''}:购买率约为平均的{times}倍。",
    )
