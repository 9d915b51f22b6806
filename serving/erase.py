"""Erase a customer everywhere: the lake, its profiles, the snapshot that serves, and what arrived since."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from data.erase import erase_customer
from features.refresh_erase import erase_from_profiles
from models.fitted import drop_outdated
from serving.contacts import ContactLog
from serving.history import erase_from_history
from serving.live import LiveStore
from serving.records import has_records, open_sync_records
from serving.scores import erase_scores

if TYPE_CHECKING:
    from datetime import datetime

    from data.erase import ErasureReport
    from features.spec import FeatureSpec
    from serving.settings import Settings


def erase_everywhere(
    settings: Settings, spec: FeatureSpec, customer_id: int, now: datetime
) -> tuple[ErasureReport, dict[str, int]]:
    """Erase a customer; killed at any moment, it can be run again.

    Fitted tables that rest on the erased rows are dropped; the next training or sync fits them anew.
    Stored quotes stay as anonymous records of what was offered: the key of their contents is dropped.

    Parameters
    ----------
    settings, spec
        Where things are, and the feature definitions.
    customer_id
        Who.
    now
        Time for the manifests, UTC without zone.

    Returns
    -------
    tuple
        What was removed from the lake, and rows removed elsewhere by place.
    """
    removed = erase_from_profiles(settings.lake, "customer_id", customer_id)
    if settings.live.is_file():
        with closing(LiveStore(settings.live, spec)) as live:
            removed["events since the last sync"] = live.erase_customer(customer_id)
    if settings.contacts.is_file():
        with closing(ContactLog(settings.contacts)) as contacts:
            removed["contacts"] = contacts.erase_customer(customer_id)
    removed["scores"] = erase_scores(settings.lake, settings.scores, customer_id)
    removed["serving store"] = erase_from_history(settings.history, spec, customer_id)
    if has_records(settings):
        with closing(open_sync_records(settings)) as records:
            removed["quotes made anonymous"] = records.erase_customer(customer_id, now, settings.user)
    report = erase_customer(settings.lake, customer_id, created=now)
    drop_outdated(settings.lake)
    return report, {place: rows for place, rows in removed.items() if rows}
