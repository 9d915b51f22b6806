"""Take somebody out of the profile tables at once, without waiting for the next refresh."""

# ruff: noqa: S608
# Names come from a checked manifest, paths are quoted, values are parameters.

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import duckdb
import pyarrow.parquet as pq

from data.lock import table_lock
from features.refresh_manifest import profile_folder, read_profile_manifest
from features.refresh_store import Layers, PartWriter, bucket_sql, commit

if TYPE_CHECKING:
    from pathlib import Path


def erase_from_profiles(root: Path, key: str, value: int) -> dict[str, int]:
    """Remove the rows of somebody from every profile table that knows the key, and all kept event files.

    The links to event files of the last runs hold the history of everybody, so they go from all tables:
    the next refresh of each is a full run.

    Parameters
    ----------
    root
        The lake.
    key, value
        Column and id, such as ``customer_id``.

    Returns
    -------
    dict
        Rows removed, by entity of the table.
    """
    tables = sorted(path.name for path in (root / "profiles").glob("*/"))
    return {entity: _erase(root, entity, key, value) for entity in tables}


def _erase(root: Path, entity: str, key: str, value: int) -> int:
    with table_lock(root, f"profiles/{entity}"):
        old = read_profile_manifest(root, entity)
        if key not in old.keys:
            commit(root, replace(old, inputs=()))
            return 0
        folder = profile_folder(root, entity)
        writer = PartWriter(folder, old.as_of_us)
        writer.prepare()
        try:
            with duckdb.connect() as con:
                con.execute("SET enable_progress_bar = false")
                rows = f"SELECT * FROM ({Layers.of(root, old).sql(old.stored)}) WHERE {key} <> {int(value)}"
                (left,) = con.execute(f"SELECT COUNT(*) FROM ({rows})").fetchall()[0]
                kind = pq.read_schema(folder / old.layer("base")[0].path).field(old.keys[0]).type
                bucketed = f"SELECT *, {bucket_sql(old.keys[0], kind)} AS bucket FROM ({rows})"
                writer.write_base(con, bucketed)
            commit(root, replace(old, rows=left, runs=0, files=writer.move_in(), inputs=()))
        finally:
            writer.close()
        return old.rows - int(left)
