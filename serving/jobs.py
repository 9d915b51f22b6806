"""What the command line and the notebooks do with the lake: train, promote, sync, export."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from data.store import connect, write_parquet_atomic
from models.families import FitSettings
from models.fitted import ensure_fitted, month_of
from models.history_rules import check_history
from models.own_history import OwnHistories
from models.pictures import draw_pictures
from models.promotion import Decision, check_second_person
from models.recommend import fit_rates
from models.registry import Registry
from models.training import TrainingResult, train
from models.tuning import Search, tune
from serving.clock import wall_clock
from serving.compose import load_services, read_products
from serving.history import build_history
from serving.live import LiveStore
from serving.model_jobs import promote_model
from serving.scores import score_everybody
from serving.tables import product_table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from pathlib import Path

    from features.spec import FeatureSpec
    from models.scoring_table import ScoringSummary
    from models.tuned import TunedSettings
    from pricing.product import Product
    from serving.settings import Settings

    Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class TrainingOutcome:
    """What came of a training.

    Attributes
    ----------
    result
        Families, figures and test rows.
    version
        Version in the registry.
    decision
        What the thresholds of the product file say of it.
    report
        HTML page of the comparison.
    promoted
        Whether this version prices from now on.
    verdict
        Why, in words.
    """

    result: TrainingResult
    version: str
    decision: Decision
    report: Path
    promoted: bool
    verdict: str


def train_product(
    product: Product,
    settings: Settings,
    spec: FeatureSpec,
    *,
    data: Path | None = None,
    as_of: datetime,
    seed: int = 1,
    tuned: TunedSettings | None = None,
    approver: str | None = None,
    pictures: Path | None = None,
    progress: Progress | None = None,
) -> TrainingOutcome:
    """Train the families of a product, log them, and propose the champion when it meets the thresholds.

    Parameters
    ----------
    product, settings, spec
        Product file, settings and feature definitions.
    data
        A table of one's own; None takes the lake.
    as_of
        Nothing later is looked at.
    seed
        Seed of the fits.
    tuned
        What `tune_product` chose.
    approver
        Second person who puts the champion into service if it meets the thresholds; None only proposes it.
    pictures
        Folder for the pictures.
    progress
        Told (step, share done).
    """
    report = progress or (lambda _step, _share: None)
    check_history(product, spec, f"{product.code}.toml")
    report("profiles as of each row", 0.02)
    with connect(settings.lake) as con:
        table = product_table(con, product, spec, data, as_of, settings.lake)
    registry = Registry(settings.registry)
    author = settings.user
    if approver is not None:
        check_second_person(author, approver)  # refused before an hour of fitting
    result = train(
        product,
        table,
        feature_spec=spec,
        settings=FitSettings(seed=seed),
        tuned=tuned,
        in_service=registry.champion(product.code),
        own=OwnHistories(settings.lake, spec) if data is None else None,
        progress=lambda step, share: report(step, 0.1 + 0.8 * share),
    )
    if pictures is not None:
        report("draw", 0.9)
        draw_pictures(result.judged, pictures / product.code)
    report("log", 0.95)
    version = registry.log_training(result, author=author, at=wall_clock(settings.clock)())
    decision = registry.decision(product.code, version)
    report("done", 1.0)
    promoted = decision.outcome == "promoted" and approver is not None
    if promoted and approver is not None:
        verdict = promote_model(product, version, approver, settings)
    else:
        verdict = _not_yet(product.code, version, author, decision)
    page = registry.report(product.code, version)
    return TrainingOutcome(result, version, decision, page, promoted, verdict)


def _not_yet(code: str, version: str, author: str, decision: Decision) -> str:
    """Say why a version does not price: an answer, not a failure, and what priced before goes on pricing."""
    if decision.outcome != "promoted":
        return f"{code} version {version}: {decision.words()}"
    hint = f"premia promote {code} {version} --by NAME"
    return f"{code} version {version} is proposed by {author}: {decision.words()}. Next: {hint}"


def tune_product(
    product: Product,
    settings: Settings,
    spec: FeatureSpec,
    fit: FitSettings,
    *,
    seconds: float,
    seed: int = 1,
    families: Sequence[str] | None = None,
    components: Sequence[str] | None = None,
    data: Path | None = None,
    as_of: datetime,
    progress: Progress | None = None,
    earlier: TunedSettings | None = None,
) -> TunedSettings:
    """Search settings of the families of a product; trials are kept in the lake, so that it can go on.

    Parameters
    ----------
    product, settings, spec, data, as_of, progress
        As for `train_product`.
    fit
        Start of the search, threads, members of an ensemble.
    seconds
        Time for all families and components together, earlier runs included.
    seed
        Seed of folds and sampler.
    families, components
        Some of the product's families, and of the response's components; all when absent.
    earlier
        Settings that a search which begins tries first.
    """
    with connect(settings.lake) as con:
        table = product_table(con, product, spec, data, as_of, settings.lake)
    search = Search(settings.lake / "_tuning" / f"{product.code}.sqlite", seconds, seed=seed)
    return tune(product, table, fit, search, families, components, progress, earlier)


def sync_serving(
    settings: Settings, spec: FeatureSpec, as_of: datetime, progress: Progress | None = None
) -> None:
    """Copy histories to the serving store and fit purchase rates; the old ones serve until the new are whole.

    Parameters
    ----------
    settings, spec
        Where, and the definitions that say what an event is.
    as_of
        Purchase rates look at nothing later.
    progress
        Told (step, share done).
    """
    report = progress or (lambda _step, _share: None)
    steps = len(spec.sources) + 2
    done = 0

    def copied(name: str) -> None:
        nonlocal done
        report(name, done / steps)
        done += 1

    with connect(settings.lake) as con:
        products = list(read_products(settings.products).values())
        if any(product.profile.fitted for product in products):
            ensure_fitted(con, settings.lake, [month_of(as_of)], report)
        services = (
            load_services(settings, spec, as_of.date())[0] if any(p.experience for p in products) else {}
        )
        build_history(con, spec, settings.history, copied, settings.lake, services, as_of)
        report("purchase rates", done / steps)
        views = con.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()
        if {("customers",), ("policies",)} <= set(views):
            fit_rates(con, products, as_of).save(settings.rates)
        else:  # without who buys what there are none, and old ones would speak of another lake
            settings.rates.unlink(missing_ok=True)
    report("done", 1.0)


def score_all(
    settings: Settings, spec: FeatureSpec, as_of: datetime, progress: Progress | None = None
) -> list[ScoringSummary]:
    """Score all customers with the models in service (see `serving.scores.score_everybody`)."""
    report = progress or (lambda _step, _share: None)
    services, _ = load_services(settings, spec)
    total, done = max(len(services), 1), 0

    def begun(code: str) -> None:
        nonlocal done
        report(code, done / total)
        done += 1

    with connect(settings.lake) as con:
        found = score_everybody(con, services, spec, settings.lake, settings.scores, as_of, begun)
    report("done", 1.0)
    return found


def withdrawn_consents(settings: Settings, spec: FeatureSpec) -> dict[str, list[int]]:
    """Give the customers who have withdrawn their consent, by purpose."""
    if not settings.live.is_file():
        return {}
    with closing(LiveStore(settings.live, spec)) as live:
        return live.withdrawn()


def portfolio_in_force(settings: Settings, product: Product, as_of: datetime, out: Path) -> int:
    """Write the policies of a product that are in force, with its rating factors; give their number.

    Parameters
    ----------
    settings, product
        Where, and which.
    as_of
        The moment, UTC without zone.
    out
        Parquet file; it appears whole or not at all.
    """
    factors = "".join(f', "{factor.name}"' for factor in product.factors)
    query = f"""
        SELECT policy_id, product, channel, customer_id, seller_id, premium_minor{factors} FROM policies
        WHERE product = $code AND inception_at <= $moment AND expiry_at > $moment ORDER BY policy_id
    """  # noqa: S608 - names come from a checked product file
    with connect(settings.lake) as con:
        table = con.sql(query, params={"code": product.code, "moment": as_of}).to_arrow_table()
    return write_parquet_atomic(table, out)
