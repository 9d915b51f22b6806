"""Fit the propensities of the recommender, and write the first offers of all customers."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pyarrow as pa

from data.store import connect, write_parquet_atomic
from models.recommend import PropensityModel, fit_propensities, offer_batches
from models.recommend.actions import read_contact_rules
from models.recommend.batch import ACTION_SCHEMA, SCHEMA, action_batches
from serving.compose import load_services
from serving.contacts import ContactLog
from serving.errors import StoreError
from serving.jobs import withdrawn_consents
from serving.service import RECOMMENDATION

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from features.spec import FeatureSpec
    from serving.settings import Settings

    Progress = Callable[[str, float], None]


def fit_offer_model(
    settings: Settings, spec: FeatureSpec, as_of: datetime, progress: Progress | None = None
) -> PropensityModel:
    """Fit the propensities of the products in service; the old ones serve until the new are whole.

    Parameters
    ----------
    settings, spec
        Where, and the feature definitions.
    as_of
        Nothing later is looked at.
    progress
        Told (step, share done).
    """
    report = progress or (lambda _step, _share: None)
    services, _ = load_services(settings, spec)
    products = [services[code].product for code in sorted(services)]
    done = 0

    def begun(code: str) -> None:
        nonlocal done
        report(code, 0.5 + 0.5 * done / max(len(products), 1))
        done += 1

    report("customer-months", 0.0)
    with connect(settings.lake) as con:
        model = fit_propensities(con, products, spec, as_of, progress=begun)
    settings.propensities.parent.mkdir(parents=True, exist_ok=True)
    model.save(settings.propensities)
    report("done", 1.0)
    return model


def write_offers(
    settings: Settings,
    spec: FeatureSpec,
    as_of: datetime,
    k: int,
    out: Path,
    progress: Progress | None = None,
) -> int:
    """Write the first k offers of all customers into one parquet file; give its rows.

    Parameters
    ----------
    settings, spec, as_of
        Where, feature definitions, and the moment.
    k
        Most offers a customer.
    out
        The file; it appears whole or not at all.
    progress
        Told (step, share done).

    Raises
    ------
    StoreError
        If no propensities have been fitted.
    """
    model = _propensities(settings, spec)
    services, _ = load_services(settings, spec)
    products = [service.product for service in services.values()]
    opted_out = withdrawn_consents(settings, spec).get(RECOMMENDATION, [])
    report = (lambda share: progress("offers", share)) if progress else None
    with connect(settings.lake) as con:
        batches = offer_batches(con, model, products, spec, as_of, k, opted_out=opted_out, progress=report)
        return write_parquet_atomic(pa.RecordBatchReader.from_batches(SCHEMA, batches), out)


def write_actions(settings: Settings, spec: FeatureSpec, as_of: datetime, out: Path) -> int:
    """Plan the next best action of all customers into one parquet file; give its rows.

    Nothing is logged: each contact of the plan is asked for when it is made, and counted then.

    Parameters
    ----------
    settings, spec, as_of
        Where, feature definitions, and the moment.
    out
        The file; it appears whole or not at all.

    Raises
    ------
    StoreError
        If no propensities have been fitted.
    """
    model = _propensities(settings, spec)
    rules = read_contact_rules(settings.contact_rules)
    services, _ = load_services(settings, spec)
    products = [service.product for service in services.values()]
    withdrawn = withdrawn_consents(settings, spec)
    with closing(ContactLog(settings.contacts)) as log:
        cooling = log.cooling(as_of, rules.cool_down_days)
        barred = {
            name: {*cooling, *log.full(name, as_of, one)}
            | {customer for purpose in one.consents for customer in withdrawn.get(purpose, ())}
            for name, one in rules.channels.items()
        }
    with connect(settings.lake) as con:
        batches = action_batches(con, model, products, spec, as_of, rules, barred)
        return write_parquet_atomic(pa.RecordBatchReader.from_batches(ACTION_SCHEMA, batches), out)


def _propensities(settings: Settings, spec: FeatureSpec) -> PropensityModel:
    if not settings.propensities.is_file():
        raise StoreError(f"there are no propensities at {settings.propensities}. Hint: premia propensity")
    return PropensityModel.load(settings.propensities, spec)
