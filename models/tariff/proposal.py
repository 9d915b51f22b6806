"""A tariff as a version that is compared, approved and served like any model."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from models.errors import MismatchError, TariffError
from models.judged import EMPTY, judge
from models.sample import Sample
from models.tariff.making import make_tariff, measured, rebased
from models.tariff.rows import Rows
from models.tariff.state import from_state, tariff_hash, to_state
from models.tariff.tariff import FAMILY, Source, Tariff
from models.training import TrainingResult, bundles_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from models.bundle import Bundle
    from models.own_history import OwnHistories
    from models.registry import Promoted
    from models.tuned import TunedSettings
    from pricing.product import Product

ATTACHMENT = "tariff.json"


def tariff_rows(product: Product, table: pa.Table) -> tuple[Rows, Rows]:
    """Give learn and test rows of a training table, split as the product file says.

    Raises
    ------
    TrainingDataError
        If the table cannot be used, with row counts.
    """
    sample = Sample.of(product, table)
    learn, test = (
        Rows.of(product, sample.encoding, sample.matrix, sample.observed, part)
        for part in (sample.learn, sample.test)
    )
    return learn, test


def tariff_of(
    bundle: Bundle,
    source: Source,
    learn: Rows,
    base: Mapping[str, str] | None = None,
    tuned: TunedSettings | None = None,
) -> Tariff:
    """Give the tariff of a stored model; one that was stored as a tariff keeps its records and changes.

    Parameters
    ----------
    bundle
        Stored model.
    source
        Its version and hash.
    learn
        Learn rows; exposure, claims and intervals come from them.
    base
        Input -> name of its base level, where it shall be another.
    tuned
        Settings that the model was trained with; passed by where they are not those.
    """
    if ATTACHMENT not in bundle.attachments:
        known = tuned if tuned is not None and tuned.hash == bundle.summary.get("tuned") else None
        return make_tariff(
            bundle.product, bundle.encoding, bundle.model, learn, source=source, base=base, tuned=known
        )
    tariff = replace(from_state(json.loads(bundle.attachments[ATTACHMENT])), source=source)
    tariff = measured(tariff, learn)
    for name, level in (base or {}).items():
        tariff = rebased(tariff, name, level)
    return tariff


def propose(
    tariff: Tariff,
    product: Product,
    table: pa.Table,
    spec_hash: str,
    in_service: Promoted | None = None,
    own: OwnHistories | None = None,
) -> TrainingResult:
    """Judge a tariff on the test rows and give it as a result that the registry takes.

    Parameters
    ----------
    tariff
        Tariff; its source is the parent version.
    product
        Product file in service.
    table
        Training table.
    spec_hash
        Identity of the definitions of the profile features.
    in_service
        Model that prices today, to be judged with it.
    own
        See `train`.

    Raises
    ------
    MismatchError
        If the tariff was made for another product or other inputs.
    TrainingDataError
        If the table cannot be used.
    """
    if (tariff.product, tariff.product_hash) != (product.code, product.hash):
        raise MismatchError(
            "products", f"{tariff.product} {tariff.product_hash}", f"{product.code} {product.hash}"
        )
    sample = Sample.of(product, table)
    if repr(tariff.encoding) != repr(sample.encoding):
        raise MismatchError("inputs", repr(tariff.encoding), repr(sample.encoding))
    models = {FAMILY: tariff.model()}
    current = None if in_service is None else in_service.bundle
    experience = None if current is None else current.experience
    known = None if own is None else own.of(bundles_of(sample, models, experience, current), sample.tested)
    judged = judge(sample, models, in_service=current, own=known)
    editors = sorted({change.editor for change in tariff.changes})
    summary: dict[str, float | int | str] = {
        **sample.facts(),
        "parent_version": tariff.source.version,
        "parent_hash": tariff.source.artifact_hash,
        "parent_family": tariff.source.family,
        "tariff_hash": tariff_hash(tariff),
        "editors": ", ".join(editors),
        "changed_cells": len(tariff.changes),
        "restrictions": len(tariff.records),
    }
    return TrainingResult(
        product,
        spec_hash,
        sample.encoding,
        models,
        judged.comparison,
        judged,
        summary,
        proposed=FAMILY,
        against=EMPTY if in_service is None else in_service.version,
        experience=experience,
        attachments={ATTACHMENT: json.dumps(to_state(tariff), ensure_ascii=False, allow_nan=False) + "\n"},
    )


def check_parent(tariff: Tariff, artifact_hash: str) -> None:
    """Refuse a tariff whose parent version is not what it was made from.

    Raises
    ------
    MismatchError
        With both hashes.
    """
    if tariff.source.artifact_hash != artifact_hash:
        raise MismatchError("parent models", tariff.source.artifact_hash, artifact_hash)


def named_bases(texts: list[str]) -> dict[str, str]:
    """Read `input=level` texts.

    Raises
    ------
    TariffError
        If a text has no `=`.
    """
    wrong = [text for text in texts if "=" not in text]
    if wrong:
        raise TariffError([f"{text!r} is no input=level" for text in wrong])
    return dict(text.split("=", 1) for text in texts)
