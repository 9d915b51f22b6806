"""The manifest of a table: the list of its files, whose replacement is the moment a write becomes visible."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

from data.contracts import CONTRACT_VERSION
from data.errors import ManifestError, TableMissingError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "MANIFEST_NAME",
    "Manifest",
    "TableFile",
    "file_checksum",
    "fsync_path",
    "manifest_or_none",
    "read_manifest",
    "write_manifest",
]

MANIFEST_NAME = "_manifest.json"


@dataclass(frozen=True, slots=True)
class TableFile:
    """One parquet file of a table.

    Parameters
    ----------
    path : str
        Path below the table's folder, with ``/``.
    rows, bytes : int
        Size.
    sha256 : str
        Checksum of the content.
    source : str
        Which input the rows came from, so that the same input can be replaced.
    """

    path: str
    rows: int
    bytes: int
    sha256: str
    source: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a table consists of and where it came from.

    Parameters
    ----------
    table : str
        Name of the table.
    created : str
        ISO time of the write, given by the caller.
    inputs : dict of str to str
        What the rows were made from, by source: a checksum or the parameters of a simulation.
    versions : dict of str to str
        Versions of the contract and of the libraries that wrote the files.
    files : tuple of TableFile
        Every file, ordered by path.
    """

    table: str
    created: str
    inputs: dict[str, str]
    versions: dict[str, str]
    files: tuple[TableFile, ...]

    @property
    def rows(self) -> int:
        """Rows of all files."""
        return sum(file.rows for file in self.files)

    @property
    def checksum(self) -> str:
        """SHA-256 over the paths and checksums of all files."""
        text = "\n".join(f"{file.path} {file.sha256}" for file in self.files)
        return hashlib.sha256(text.encode()).hexdigest()


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Put a manifest in place of the one before, in one step.

    Parameters
    ----------
    folder : Path
        Folder of the table.
    manifest : Manifest
        What to write.
    """
    body = asdict(manifest) | {
        "contract_version": CONTRACT_VERSION,
        "rows": manifest.rows,
        "checksum": manifest.checksum,
    }
    temporary = folder / f".{MANIFEST_NAME}.{os.getpid()}"
    temporary.write_text(json.dumps(body, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    fsync_path(temporary)
    temporary.replace(folder / MANIFEST_NAME)
    fsync_path(folder)


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a table.

    Parameters
    ----------
    folder : Path
        Folder of the table.

    Raises
    ------
    TableMissingError
        If there is none.
    ManifestError
        If it cannot be read, or its checksum does not fit its list of files.
    """
    path = folder / MANIFEST_NAME
    if not path.is_file():
        message = f"{folder} holds no table: {MANIFEST_NAME} is missing"
        raise TableMissingError(message)
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        files = tuple(TableFile(**entry) for entry in body["files"])
        found = Manifest(body["table"], body["created"], body["inputs"], body["versions"], files)
        stated = body["checksum"]
    except (ValueError, KeyError, TypeError) as error:
        message = f"{path} is not a manifest: {error}"
        raise ManifestError(message) from error
    if found.checksum != stated:
        message = f"{path} states checksum {stated}, its list of files gives {found.checksum}"
        raise ManifestError(message)
    return found


def manifest_or_none(folder: Path) -> Manifest | None:
    """Read the manifest of a table, None where there is no table.

    Raises
    ------
    ManifestError
        See `read_manifest`.
    """
    try:
        return read_manifest(folder)
    except TableMissingError:
        return None


def file_checksum(path: Path) -> str:
    """Give the SHA-256 of a file's content in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_text_atomic(text: str, path: Path) -> None:
    """Write a text file; an older one is replaced in one step.

    Parameters
    ----------
    text : str
        What it holds.
    path : Path
        File; its folder is made when absent.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{uuid4().hex[:8]}")
    try:
        temporary.write_text(text, encoding="utf-8")
        fsync_path(temporary)
        temporary.replace(path)
        fsync_path(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def fsync_path(path: Path) -> None:
    """Make a file or folder outlive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
