"""What is done with registered models: put into service, compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from data.page import write_page
from data.store import connect
from models.errors import MismatchError, RegistryError
from models.families.base import library_versions
from models.own_history import OwnHistories
from models.promotion import Decision, assess
from models.registry import Registry
from models.report import Circumstances, comparison_page
from models.versions import judge_bundles
from serving.clock import wall_clock
from serving.compose import plan_to_promote
from serving.tables import product_table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from pathlib import Path

    from features.spec import FeatureSpec
    from models.judged import Judged
    from pricing.product import Product
    from serving.settings import Settings

    Progress = Callable[[str, float], None]

MOST_VERSIONS = 4


@dataclass(frozen=True)
class VersionsCompared:
    """What came of a comparison of registered versions.

    Attributes
    ----------
    judged
        Test rows with what each version says of them.
    decisions
        What the thresholds say, by version that is not in service.
    left_out
        Why a version was not compared.
    """

    judged: Judged
    decisions: dict[str, Decision]
    left_out: dict[str, str]


def promote_model(product: Product, version: int | str, approver: str, settings: Settings) -> str:
    """Let a registered version price from now on, with the plan of its product (see `models.registry`)."""
    registry = Registry(settings.registry)
    stored = registry.stored(product.code, version)[0].product.hash
    if stored != product.hash:
        raise MismatchError("products", stored, product.hash)
    at = wall_clock(settings.clock)()
    plan = plan_to_promote(product, settings, registry.plans, at.date())
    return registry.promote(product.code, version, by=approver, plan=plan, at=at)


def compare_versions(
    product: Product,
    settings: Settings,
    spec: FeatureSpec,
    *,
    versions: Sequence[str] = (),
    data: Path | None = None,
    as_of: datetime,
    out: Path,
    progress: Progress | None = None,
) -> VersionsCompared:
    """Compare registered versions with the one in service, and write down what the thresholds say of each.

    Parameters
    ----------
    product, settings, spec
        Product file, settings and feature definitions.
    versions
        Which; the last four when none is named.
    data
        A table of one's own; None takes the lake.
    as_of
        Nothing later is looked at.
    out
        HTML file of the report.
    progress
        Told (step, share done).

    Raises
    ------
    RegistryError
        If there is no such version.
    """
    report = progress or (lambda _step, _share: None)
    registry = Registry(settings.registry)
    current = registry.champion(product.code)
    chosen = list(versions) or registry.versions(product.code)[-MOST_VERSIONS:]
    serving = "" if current is None else current.version
    challengers = [version for version in chosen if version != serving]
    if not challengers:
        raise RegistryError(f"{product.code} has no version to compare beside {serving or 'none'}")
    # Read before the table, so that an absent version is said at once.
    bundles = {f"v{version}": registry.stored(product.code, version)[0] for version in challengers}
    report("profiles as of each row", 0.05)
    with connect(settings.lake) as con:
        table = product_table(con, product, spec, data, as_of, settings.lake)
    report("score and test", 0.4)
    in_service = None if current is None else current.bundle
    own = OwnHistories(settings.lake, spec) if data is None else None
    judged, facts, left_out = judge_bundles(product, bundles, table, in_service=in_service, own=own)
    decisions = {
        name: assess(product.promotion, judged, name, serving) for name in bundles if name not in left_out
    }
    now = wall_clock(settings.clock)()
    for name, decision in decisions.items():
        registry.record_decision(product.code, name[1:], decision, who=settings.user, at=now)
    report("draw", 0.8)
    around = Circumstances(now, settings.user, facts, library_versions())
    write_page(comparison_page(product, judged, decisions, around), out)
    report("done", 1.0)
    return VersionsCompared(judged, decisions, left_out)
