"""Results of a batch job: a folder whose manifest names one whole table."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from data.manifest import MANIFEST_NAME, Manifest, TableFile, file_checksum, fsync_path, write_manifest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from serving.engine import InService


def draft_of(out: Path, table: str) -> Path:
    """Name the file that this process writes before it is published."""
    return out / f".{table}.{os.getpid()}.parquet"


def sweep(out: Path, table: str) -> None:
    """Remove the drafts of jobs that were killed."""
    for draft in out.glob(f".{table}.*.parquet"):
        try:
            os.kill(int(draft.name.split(".")[2]), 0)
        except (ProcessLookupError, ValueError):
            draft.unlink(missing_ok=True)
        except PermissionError:  # alive, of another user
            continue


def published_name(table: str, draft: Path) -> str:
    """Name the file that a draft becomes: equal rows have equal names."""
    return f"{table}-{file_checksum(draft)[:16]}.parquet"


def publish(
    out: Path,
    table: str,
    draft: Path,
    portfolio: Path,
    services: Mapping[str, InService],
    as_of: datetime,
    rows: int,
) -> None:
    """Put a whole table in place: the manifest names the file, and replacing it is one step.

    Parameters
    ----------
    out, table, draft
        Folder, name of the table, and the file as written.
    portfolio
        What was read, for the manifest.
    services
        What priced, by the name under which the manifest keeps it.
    as_of
        Time of the prices.
    rows
        Rows of the table.
    """
    fsync_path(draft)
    checksum = file_checksum(draft)
    target = out / published_name(table, draft)
    size = draft.stat().st_size
    draft.replace(target)
    files = [portfolio] if portfolio.is_file() else [portfolio / MANIFEST_NAME]
    versions = {"duckdb": duckdb.__version__, "pyarrow": pa.__version__}
    for name, service in services.items():
        versions[f"model.{name}"] = f"{service.model_version} {service.model_hash}"
        versions[f"plan.{name}"] = f"{service.plan.code} {service.plan.hash}"
        if service.rival is not None and service.rival.kind == "challenger":
            own = service.rival.service
            versions[f"challenger.{name}"] = f"{own.model_version} {own.model_hash}"
        versions[f"product.{name}"] = f"{service.product.version} {service.product.hash}"
    entry = TableFile(target.name, rows, size, checksum, portfolio.name)
    inputs = {path.name: file_checksum(path) for path in files if path.is_file()}
    write_manifest(out, Manifest(table, as_of.isoformat(), inputs, versions, (entry,)))
    for old in out.glob(f"{table}-*.parquet"):
        if old != target:
            old.unlink()
