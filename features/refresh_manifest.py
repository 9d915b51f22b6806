"""The manifest of a profile table: what it holds, what it was made from, and when it is as of.

Its replacement is the one moment at which a refresh becomes visible, as for the tables of the lake.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from data.manifest import MANIFEST_NAME, fsync_path
from features.errors import FeatureError

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = 2
"""Version of the layout; a table of another one is made anew."""

BUCKETS = 16
"""Buckets of the first key. Fixed: a table with another number is made anew."""

INPUTS = "_inputs"
"""Folder of a profile table that keeps the event files of the last run by hard links."""

Span = tuple[int, int] | None
"""First and last time of a column in microseconds; None when no row has one."""


class ProfileTableError(FeatureError):
    """A profile table is absent, damaged, or not what was asked for."""

    absent = False


class NoProfiles(ProfileTableError):
    """The lake has no profile table of this entity yet."""

    absent = True


@dataclass(frozen=True, slots=True)
class InputFile:
    """One event file that a run was made from.

    Parameters
    ----------
    table, path
        Table of the lake, and path below its folder.
    sha256, rows
        Checksum and number of rows.
    spans
        First and last time by time column; a column without statistics is left out.
    """

    table: str
    path: str
    sha256: str
    rows: int
    spans: dict[str, Span]

    def overlaps(self, column: str, begin_us: int | None, end_us: int) -> bool:
        """Tell whether rows may have a time in ``[begin, end)``; None is the beginning of time."""
        if column not in self.spans:
            return True
        span = self.spans[column]
        return span is not None and span[0] < end_us and (begin_us is None or span[1] >= begin_us)


@dataclass(frozen=True, slots=True)
class PartFile:
    """One file of rows of a profile table.

    Parameters
    ----------
    path
        Path below the table's folder.
    layer
        ``base``, or the name of the group that it patches.
    rows, bytes, sha256
        Size and checksum.
    """

    path: str
    layer: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class PatchGroup:
    """Columns that change together, as all of one window of one source do.

    A patch has the keys, the number of its run, and these columns for the rows that the run changed.

    Parameters
    ----------
    name
        Name of the group.
    sums
        Counts and sums: the patch holds what to add.
    edges
        All others: the patch holds the value; that of the latest run stands.
    """

    name: str
    sums: tuple[str, ...]
    edges: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns of the group."""
        return (*self.sums, *self.edges)


@dataclass(frozen=True, slots=True)
class ProfileManifest:
    """What a profile table holds and where it came from.

    Parameters
    ----------
    entity, keys
        Whom the rows are about, and the columns that identify them.
    as_of_us
        The moment, floored to the grain of the entity.
    names, stored
        Features that were asked for, and the aggregates behind them, which are the columns of the files.
    spec_hash, population_hash
        Fingerprints of the definitions, and of the sources that say who has a row.
    groups
        Which of the aggregates change together.
    rows
        Rows that a reader sees.
    runs
        Runs that have patched the base.
    files, inputs
        The rows, and the event files that they were made from.
    """

    entity: str
    keys: tuple[str, ...]
    as_of_us: int
    names: tuple[str, ...]
    stored: tuple[str, ...]
    spec_hash: str
    population_hash: str
    groups: tuple[PatchGroup, ...]
    rows: int
    runs: int
    files: tuple[PartFile, ...]
    inputs: tuple[InputFile, ...]
    buckets: int = BUCKETS
    format: int = FORMAT

    def layer(self, name: str) -> tuple[PartFile, ...]:
        """Give the files of a layer."""
        return tuple(file for file in self.files if file.layer == name)


def profile_folder(root: Path, entity: str) -> Path:
    """Give the folder of a profile table in the lake."""
    return root / "profiles" / entity


def write_profile_manifest(folder: Path, manifest: ProfileManifest) -> None:
    """Put a manifest in place of the one before, in one step."""
    body = asdict(manifest)
    body["checksum"] = _checksum(body)
    temporary = folder / f".{MANIFEST_NAME}.{os.getpid()}"
    temporary.write_text(json.dumps(body, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    fsync_path(temporary)
    temporary.replace(folder / MANIFEST_NAME)
    fsync_path(folder)


def read_profile_manifest(root: Path, entity: str) -> ProfileManifest:
    """Read the manifest of a profile table.

    Raises
    ------
    ProfileTableError
        If there is none, or it cannot be read or does not fit its own checksum.
    """
    path = profile_folder(root, entity) / MANIFEST_NAME
    if not path.is_file():
        message = f"the lake has no profiles of entity {entity!r}. Hint: run premia profile --as-of TIME"
        raise NoProfiles(message)
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        stated = body.pop("checksum")
        found = _from_json(body)
        given = _checksum(body)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProfileTableError(f"{path} is no manifest of profiles: {error}") from error
    if given != stated:
        raise ProfileTableError(f"{path} states checksum {stated}, its content gives {given}")
    return found


def _checksum(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _from_json(body: dict[str, Any]) -> ProfileManifest:
    lists = {name: tuple(body[name]) for name in ("keys", "names", "stored")}
    inputs = [
        InputFile(**entry | {"spans": {name: span and tuple(span) for name, span in entry["spans"].items()}})
        for entry in body["inputs"]
    ]
    files = tuple(PartFile(**entry) for entry in body["files"])
    groups = tuple(
        PatchGroup(entry["name"], tuple(entry["sums"]), tuple(entry["edges"])) for entry in body["groups"]
    )
    return ProfileManifest(**body | lists | {"groups": groups, "inputs": tuple(inputs), "files": files})
