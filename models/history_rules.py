"""Which history may price a product: no own claims twice, nothing collected for another purpose."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pricing.errors import DefinitionError

if TYPE_CHECKING:
    from features.spec import FeatureSpec
    from pricing.product import Product

PRICING = "pricing"


def check_history(product: Product, spec: FeatureSpec, source: str) -> None:
    """Refuse a product that prices history which it may not.

    Parameters
    ----------
    product, spec
        Product file and feature definitions.
    source
        Name of the product file, for the message.

    Raises
    ------
    DefinitionError
        Naming every feature that counts the same own claims or returns as the experience rating, or is made
        from data of another purpose than pricing (such as demand or marketing).
    """
    problems = [
        f"profile.features: {name} is made from data for {', '.join(other)}, which is never priced"
        for name in product.profile.features
        if (other := [purpose for purpose in spec.purposes_of(name) if purpose != PRICING])
    ]
    twice = _counted_twice(product, spec)
    if twice and product.experience is not None:
        own = product.experience
        problems.append(
            f"profile.features: {', '.join(twice)} and experience count the same {own.counts} of the "
            f"{own.unit} twice. Hint: leave them out, or leave [experience] out"
        )
    if problems:
        raise DefinitionError(source, problems)


def _counted_twice(product: Product, spec: FeatureSpec) -> list[str]:
    own = product.experience
    if own is None or own.scale is not None:
        return []
    claims = own.counts == "claims"
    column, counted = ("product", {product.code}) if claims else ("category", set(own.expected))
    twice = []
    for name in product.profile.features:
        for item in spec.base([name]):
            part = spec.source[item.source]
            told = part.table == "claims" if claims else (part.table, part.time) == ("orders", "returned_at")
            kept = [set(each.values) for each in (*part.where, *item.filters) if each.column == column]
            if told and own.key in spec.entity[item.entity].keys and all(counted & one for one in kept):
                twice.append(name)
                break
    return twice
