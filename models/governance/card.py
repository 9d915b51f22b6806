"""The model card: nine fields of EIOPA, and what ASOP 56 adds, printed from the artifact itself.

What only people can say stands in the product file (`[card]`); everything else is read from the stored model,
so that a card cannot say something of a model that is not so. A field nobody filled is said to be missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.tables import TableModel

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from models.audit import Entry
    from models.bundle import Bundle
    from models.governance.audit import AttributeAudit
    from pricing.product import Product

MISSING = "not stated: the product file has no [card]"
EIOPA = "EIOPA-BoS-25-360, field"


@dataclass(frozen=True)
class Section:
    """One field of the card.

    Attributes
    ----------
    title
        Name of the field.
    rule
        What asks for it.
    lines
        Statements, in order.
    """

    title: str
    rule: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class ModelCard:
    """A model, described for those who did not build it.

    Attributes
    ----------
    heading
        Product, version, family.
    sections
        Fields.
    """

    heading: str
    sections: tuple[Section, ...]

    @property
    def gaps(self) -> tuple[str, ...]:
        """Fields that nobody filled."""
        return tuple(section.title for section in self.sections if MISSING in section.lines)

    def markdown(self) -> str:
        """Give the card as Markdown."""
        parts = [f"# {self.heading}"]
        for section in self.sections:
            parts.append(f"## {section.title}\n\n*{section.rule}*\n")
            parts.append("\n".join(f"- {line}" for line in section.lines))
        return "\n\n".join(parts) + "\n"


def model_card(
    bundle: Bundle,
    version: str,
    artifact_hash: str,
    *,
    log: Sequence[Entry] = (),
    audits: Sequence[AttributeAudit] = (),
) -> ModelCard:
    """Describe a stored model.

    Parameters
    ----------
    bundle
        As stored.
    version, artifact_hash
        In the registry.
    log
        What was done to the version (`Registry.log` entries).
    audits
        Fairness audits, where the table holds protected attributes.
    """
    product = bundle.product
    sections = (
        Section("Aim", f"{EIOPA} 1; ASOP 56: intended purpose", _said(product, "aim", "risk_tier")),
        Section("IT links", f"{EIOPA} 2", _said(product, "it_links")),
        Section("Roles", f"{EIOPA} 3; ASOP 56: governance", (*_said(product, "roles"), *_history(log))),
        Section("Data", f"{EIOPA} 4; ASOP 23", (*_said(product, "data"), *_rows(bundle))),
        Section("Exclusions and preparation", f"{EIOPA} 5", _said(product, "exclusions", "preparation")),
        Section("Technical choices", f"{EIOPA} 6", tuple(_choices(bundle))),
        Section("Code and seeds", f"{EIOPA} 7", tuple(_identity(bundle, version, artifact_hash))),
        Section(
            "Thresholds set before, and results on rows held out",
            f"{EIOPA} 8; ASOP 56: validation",
            (*_thresholds(product), *_results(bundle)),
        ),
        Section("Security", f"{EIOPA} 9", _said(product, "security")),
        Section("Limits and reliance", "ASOP 56", _said(product, "limits", "reliance")),
        Section(
            "Protected attributes",
            "Gender Directive; Colorado Regulation 10-1-1; PIPL Art. 24",
            tuple(_fairness(product, audits)),
        ),
    )
    return ModelCard(
        f"{product.name.en} ({product.code}), version {version}: {bundle.model.family}", sections
    )


def _said(product: Product, *names: str) -> tuple[str, ...]:
    """Give what people said of the model in the product file."""
    if product.card is None:
        return (MISSING,)
    values = {name: str(getattr(product.card, name)) for name in names}
    return tuple(f"Risk tier: {text}" if name == "risk_tier" else text for name, text in values.items())


def _history(log: Sequence[Entry]) -> tuple[str, ...]:
    return tuple(
        f"{entry.at:%Y-%m-%d %H:%M} UTC: {entry.action.replace('_', ' ')} by {entry.who}" for entry in log
    )


def _rows(bundle: Bundle) -> tuple[str, ...]:
    found = bundle.summary
    unit = bundle.product.exposure.unit
    return tuple(
        f"{name.capitalize()} rows: {found[f'{name}_rows']:,} with {found[f'{name}_claims']:,.0f} claims "
        f"on {found[f'{name}_exposure']:,.1f} {unit}"
        for name in ("learn", "test")
        if f"{name}_rows" in found
    )


def _choices(bundle: Bundle) -> Iterator[str]:
    product, model = bundle.product, bundle.model
    for name, scorer in model.components.items():
        form = type(scorer).__name__
        if isinstance(scorer, TableModel):
            tables = f"{len(scorer.mains)} one-way and {len(scorer.pairs)} two-way tables"
            form = f"{tables}, {scorer.cell_count:,} cells"
        yield f"Component {name}: {form}, {scorer.link} link"
    yield f"Inputs ({len(model.inputs)}): {', '.join(model.inputs)}"
    if product.monotone:
        signs = ", ".join(
            f"{name} {'rising' if sign > 0 else 'falling'}" for name, sign in product.monotone.items()
        )
        yield f"Directions that are enforced: {signs}"
    if model.load_minor:
        yield f"Pooled load for large losses: {model.load_minor:,.2f} minor units per unit of exposure"
    yield "Libraries: " + ", ".join(f"{name} {number}" for name, number in bundle.versions.items())


def _identity(bundle: Bundle, version: str, artifact_hash: str) -> Iterator[str]:
    yield f"Version {version}, artifact sha256 {artifact_hash}"
    yield f"Product file version {bundle.product.version}, sha256 {bundle.product.hash}"
    yield f"Feature definitions sha256 {bundle.spec_hash}" if bundle.spec_hash else "No profile features"
    seeds = [
        f"{key} {value}"
        for key, value in bundle.summary.items()
        if key in ("seed", "rounds", "learning_rate")
    ]
    yield "Settings: " + (", ".join(seeds) or "those stored with the artifact")


def _thresholds(product: Product) -> Iterator[str]:
    for name, value in product.promotion:
        if name not in ("champion", "segments"):
            yield f"{name.replace('_', ' ')}: {value if value is not None else 'not asked for'}"
    gain = product.promotion.champion
    yield f"gain on the model in service: at least {gain.least_gain:.2%}, p at most {gain.significance:g}"
    segments = product.promotion.segments
    if segments.columns:
        yield (
            f"segments by {', '.join(segments.columns)} with {segments.least_claims} claims: actual over "
            f"expected {segments.lowest_ae:g} to {segments.highest_ae:g}"
        )


def _results(bundle: Bundle) -> Iterator[str]:
    for key, value in bundle.summary.items():
        if (
            key.startswith("test_")
            and isinstance(value, float)
            and key not in ("test_claims", "test_exposure")
        ):
            yield f"Result: {key.removeprefix('test_').replace('_', ' ')} {value:.5g}"


def _fairness(product: Product, audits: Sequence[AttributeAudit]) -> Iterator[str]:
    if not product.protected:
        yield "The product file names none."
        return
    yield f"Never an input, kept apart for audits: {', '.join(product.protected)}"
    limits = product.fairness
    yield (
        f"Limits set before: proxies explain at most {limits.highest_proxy_share:.0%}, "
        f"premium at equal risk differs by at most {limits.widest_price_gap:.0%}"
    )
    audited = {audit.attribute for audit in audits}
    for audit in audits:
        yield (
            f"{audit.attribute}: inputs explain {audit.proxies.share:.1%} of it; widest gap at equal risk "
            f"that is not noise {audit.gap.widest:.2%}"
        )
        yield from (f"Finding: {text}" for text in audit.findings(product))
    left = [name for name in product.protected if name not in audited]
    if left:
        yield f"Not audited (the table does not hold it): {', '.join(left)}"
