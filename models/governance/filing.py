"""The filing pack: all that is filed with a model, as one folder (NAIC 2021, appendices B and D)."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from models.diagnostics import lift, lorenz, one_way
from models.dislocation import dislocation
from models.errors import FilingError
from models.governance.card import model_card
from models.tariff import draw_tariff, write_tariff

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    import pandas as pd
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from models.audit import Entry
    from models.bundle import Bundle
    from models.governance.audit import AttributeAudit
    from models.tariff import Tariff
    from pricing.plan import RatingPlan

    Array = NDArray[np.float64]

INDEX = "manifest.json"
DPI = 110


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a filing rests on beside the stored model.

    Attributes
    ----------
    actual, expected, exposure
        Test rows: cost or claims that came, that were expected, units of exposure; shape (n,).
    factors
        Rating factors of the test rows, by name.
    tariff
        Relativities with exposure and intervals; None where the model is no sum of tables.
    before, after
        Prices of a portfolio by what is in force and by the filing, minor units, shape (m,); empty when first
        filed.
    segments
        Factor -> level of each policy of the portfolio.
    log, audits
        As in `model_card`.
    """

    actual: Array
    expected: Array
    exposure: Array
    factors: pd.DataFrame
    tariff: Tariff | None
    before: Array
    after: Array
    segments: Mapping[str, Sequence[object]]
    log: Sequence[Entry] = ()
    audits: Sequence[AttributeAudit] = ()


def filing_pack(
    folder: Path, bundle: Bundle, version: str, artifact_hash: str, plan: RatingPlan, evidence: Evidence
) -> list[Path]:
    """Write the pack; the folder appears complete or not at all.

    Parameters
    ----------
    folder
        Must not exist yet.
    bundle, version, artifact_hash
        The model and its identity in the registry.
    plan
        Rating plan that is filed with it.
    evidence
        Test rows, tariff, dislocation, log and audits.

    Returns
    -------
    list of Path
        The files, `manifest.json` (a checksum of every other file) last.

    Raises
    ------
    FilingError
        If the folder exists, or the product file leaves the card empty.
    """
    if folder.exists():
        raise FilingError(f"{folder} exists; a filing is never written over. Hint: another --out")
    card = model_card(bundle, version, artifact_hash, log=evidence.log, audits=evidence.audits)
    if card.gaps:
        raise FilingError(
            f"the product file of {bundle.product.code!r} has no [card]; a filing needs "
            f"{', '.join(card.gaps)}. Hint: docs/governance.md"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        (staging / "model_card.md").write_text(card.markdown(), encoding="utf-8")
        (staging / "product.json").write_text(
            bundle.product.model_dump_json(indent=1) + "\n", encoding="utf-8"
        )
        (staging / "plan.json").write_text(plan.model_dump_json(indent=1) + "\n", encoding="utf-8")
        _write_tables(staging, evidence, bundle.model.family)
        _write_tariff(staging, bundle, evidence)
        _write_index(staging, version, artifact_hash)
        staging.chmod(0o755)
        staging.rename(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return [*sorted(p for p in folder.rglob("*") if p.is_file() and p.name != INDEX), folder / INDEX]


def _write_tables(folder: Path, evidence: Evidence, family: str) -> None:
    for name, frame, figure in _tables(evidence, family):
        frame.to_csv(folder / f"{name}.csv")
        # Without the software stamp, equal pictures are equal files.
        figure.savefig(folder / f"{name}.png", dpi=DPI, metadata={"Software": None})


def _tables(evidence: Evidence, family: str) -> Iterator[tuple[str, pd.DataFrame, Figure]]:
    """Give the tables of appendices B and D, each with its picture."""
    actual, exposure = evidence.actual, evidence.exposure
    expected = {family: evidence.expected}
    for name, found in (
        ("lift", lift(actual, expected, exposure)),
        ("lorenz", lorenz(actual, expected, exposure)),
    ):
        yield name, found.frame, found.figure()
    for factor in evidence.factors.columns:
        one = one_way(actual, expected, exposure, evidence.factors[factor])
        yield f"actual_expected_{factor}", one.frame, one.figure()
    for audit in evidence.audits:
        yield f"proxies_of_{audit.attribute}", audit.proxies.frame, audit.proxies.figure()
        yield f"premium_by_{audit.attribute}", audit.gap.frame, audit.gap.figure()
    if len(evidence.before):
        moved = dislocation(evidence.before, evidence.after, evidence.segments)
        yield "rate_disruption", moved.frame, moved.figure()
        if len(moved.segments):
            yield "rate_disruption_by_segment", moved.segments, moved.figure()


def _write_tariff(folder: Path, bundle: Bundle, evidence: Evidence) -> None:
    if evidence.tariff is None:
        kinds = {name: type(scorer).__name__ for name, scorer in bundle.model.components.items()}
        (folder / "no_tariff.txt").write_text(
            f"The components {kinds} are no sums of tables; distil a tariff first (premia tariff distil).\n",
            encoding="utf-8",
        )
        return
    write_tariff(evidence.tariff, folder / "tariff.xlsx")
    write_tariff(evidence.tariff, folder / "tariff.csv")
    draw_tariff(evidence.tariff, folder / "relativities")


def _write_index(folder: Path, version: str, artifact_hash: str) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    content = {
        "version": version,
        "artifact_sha256": artifact_hash,
        "files": {
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
        },
    }
    (folder / INDEX).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
