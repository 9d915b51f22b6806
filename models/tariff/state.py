"""The exact state of a tariff as JSON, its hash, and the lines in which files of any kind carry it along."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import zlib
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from models.encoding import Encoding
from models.errors import TariffError
from models.tariff.scale import Scale
from models.tariff.tariff import Change, Component, Record, Source, Table, Tariff

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

FORMAT = "premia-tariff-1"
# A cell of a workbook holds 32,767 characters.
LINE = 20_000
# Far above any tariff, so that a file cannot ask for all memory.
LARGEST = 1 << 30


def to_state(tariff: Tariff) -> dict[str, Any]:
    """Give everything of a tariff as a JSON object; floats come back with the same bits."""
    return {
        "format": FORMAT,
        "product": tariff.product,
        "product_hash": tariff.product_hash,
        "currency": tariff.currency,
        "kind": tariff.kind,
        "benefit_minor": tariff.benefit_minor,
        "load_minor": tariff.load_minor,
        "encoding": tariff.encoding.to_json(),
        "components": [_component_state(component) for component in tariff.components],
        "source": asdict(tariff.source),
        "records": [asdict(record) for record in tariff.records],
        "changes": [asdict(change) for change in tariff.changes],
    }


def from_state(state: Mapping[str, Any]) -> Tariff:
    """Read what `to_state` wrote.

    Raises
    ------
    TariffError
        If the format is unknown or parts do not fit together.
    """
    if state.get("format") != FORMAT:
        raise TariffError([f"format {state.get('format')!r} is not {FORMAT}"])
    try:
        tariff = Tariff(
            state["product"],
            state["product_hash"],
            state["currency"],
            state["kind"],
            float(state["benefit_minor"]),
            float(state["load_minor"]),
            Encoding.from_json(state["encoding"]),
            tuple(_read_component(part) for part in state["components"]),
            Source(**state["source"]),
            tuple(Record(**record) for record in state["records"]),
            tuple(Change(**change) for change in state["changes"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, ValidationError) as error:
        raise TariffError([f"the content does not fit {FORMAT}: {error!r}"]) from error
    _check(tariff)
    return tariff


def tariff_hash(tariff: Tariff) -> str:
    """Give the identity of a tariff: sha256 of its state."""
    return hashlib.sha256(_text(tariff).encode()).hexdigest()


def pack(tariff: Tariff) -> list[str]:
    """Give the state in lines of letters and digits that survive any spreadsheet."""
    packed = base64.b64encode(zlib.compress(_text(tariff).encode(), 9)).decode()
    return [packed[start : start + LINE] for start in range(0, len(packed), LINE)]


def unpack(lines: Sequence[str]) -> Tariff:
    """Read what `pack` wrote.

    Raises
    ------
    TariffError
        If lines are absent or damaged.
    """
    try:
        reader = zlib.decompressobj()
        content = reader.decompress(base64.b64decode("".join(lines), validate=True), LARGEST)
        if not reader.eof:
            raise TariffError(["the stored state of the tariff is incomplete"])
        state = json.loads(content)
    except (binascii.Error, zlib.error, ValueError) as error:
        raise TariffError([f"the stored state of the tariff is absent or damaged: {error}"]) from error
    return from_state(state)


def _text(tariff: Tariff) -> str:
    return json.dumps(
        to_state(tariff), sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":")
    )


def _component_state(component: Component) -> dict[str, Any]:
    return {
        "name": component.name,
        "objective": component.objective,
        "link": component.link,
        "intercept": component.intercept,
        "dispersion": component.dispersion,
        "tables": [
            {
                "scales": [asdict(scale) for scale in table.scales],
                "reference": table.reference,
                "base": table.base,
                "raw": table.raw.tolist(),
                "exposure": table.exposure.tolist(),
                "claims": table.claims.tolist(),
                "information": table.information.tolist(),
            }
            # Left out where there is none, so that states without it keep their hash.
            | ({} if table.variance is None else {"variance": table.variance.tolist()})
            for table in component.tables
        ],
    }


def _read_component(state: Mapping[str, Any]) -> Component:
    return Component(
        state["name"],
        state["objective"],
        state["link"],
        float(state["intercept"]),
        tuple(_read_table(part) for part in state["tables"]),
        float(state["dispersion"]),
    )


def _read_table(state: Mapping[str, Any]) -> Table:
    scales = tuple(
        Scale(
            part["input"],
            None if part["edges"] is None else tuple(float(edge) for edge in part["edges"]),
            tuple(int(cell) for cell in part["groups"]),
        )
        for part in state["scales"]
    )
    shape = tuple(scale.cells for scale in scales)

    def cells(name: str) -> NDArray[np.float64]:
        found = np.array(state[name], dtype=np.float64)
        if found.shape != shape:
            raise ValueError(f"{name} has shape {found.shape}, its scales have {shape}")
        return found

    base = state["base"]
    return Table(
        scales,
        cells("raw"),
        float(state["reference"]),
        None if base is None else int(base),
        cells("exposure"),
        cells("claims"),
        cells("information"),
        cells("variance") if "variance" in state else None,
    )


def _check(tariff: Tariff) -> None:
    """Refuse tables that no model could be made of."""
    problems = []
    for component in tariff.components:
        seen: set[tuple[str, ...]] = set()
        for table in component.tables:
            place = f"{component.name} {table.name}"
            if table.inputs in seen or len(set(table.inputs)) != len(table.inputs):
                problems.append(f"{place}: the table is there twice")
            seen.add(table.inputs)
            problems += [f"{place}: {problem}" for problem in _scale_problems(table, tariff.encoding)]
            if not np.isfinite(table.raw).all():
                problems.append(f"{place}: raw values are not finite")
    if problems:
        raise TariffError(problems)


def _scale_problems(table: Table, encoding: Encoding) -> list[str]:
    problems = []
    for scale in table.scales:
        if scale.input not in encoding.inputs:
            problems.append(f"{scale.input} is no input of the product")
            continue
        levels = encoding.levels[encoding.inputs.index(scale.input)]
        if scale.edges is None:
            if len(scale.groups) != len(levels) or set(scale.groups) != set(range(scale.cells - 1)):
                problems.append(f"{scale.input} has {len(levels)} levels, groups are {scale.groups}")
        elif levels:
            problems.append(f"{scale.input} has levels, the table has bands")
        elif list(scale.edges) != sorted(set(scale.edges)):
            problems.append(f"bounds of {scale.input} do not ascend")
    return problems
