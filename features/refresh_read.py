"""Read the profile table of an entity: stored aggregates, and what is derived from them, as of its moment.

Ages such as days since the last order move by the clock for everybody. The table stores the times; ages,
shares and all other derivations are arithmetic on the stored columns, done on reading.
"""

# ruff: noqa: S608
# Every name in the text has passed the pattern and the key word check of load.

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from features.derive import sql_expression
from features.load import default_spec
from features.refresh_inputs import EPOCH, MICROSECOND
from features.refresh_manifest import ProfileManifest, ProfileTableError, read_profile_manifest
from features.refresh_store import Layers, key_types
from features.spec import Derived, Feature, FeatureSpec

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence
    from pathlib import Path


def read_profiles(
    root: Path,
    entity: str,
    as_of: dt.datetime | None = None,
    *,
    spec: FeatureSpec | None = None,
    names: Sequence[str] | None = None,
) -> pa.Table:
    """Read the profiles of everybody.

    Parameters
    ----------
    root, entity
        The lake, and whose profiles.
    as_of
        The moment that the table must be as of; None takes it as it is.
    spec
        Definitions; the shipped ones by default.
    names
        Features wanted; None takes those that the table was made for.

    Returns
    -------
    pyarrow.Table
        The keys, in their order, and one int64 or float64 column per name.

    Raises
    ------
    ProfileTableError
        If there is no table, or it is of another moment or other definitions, or lacks a feature.
    """
    definitions = spec or default_spec()
    while True:
        manifest = read_profile_manifest(root, entity)
        query = profiles_sql(root, manifest, definitions, as_of=as_of, names=names)
        try:
            with duckdb.connect() as con:
                con.execute("SET enable_progress_bar = false")
                table = con.sql(f"{query}\nORDER BY {', '.join(manifest.keys)}").to_arrow_table()
        except duckdb.IOException:
            # A refresh came between: the files of the manifest are gone, and there is a new one.
            if read_profile_manifest(root, entity) == manifest:
                raise
        else:
            return table.cast(_schema(manifest, definitions, table.column_names))


def profiles_sql(
    root: Path,
    manifest: ProfileManifest,
    spec: FeatureSpec,
    *,
    as_of: dt.datetime | None = None,
    names: Sequence[str] | None = None,
) -> str:
    """Write the profiles as SQL, for engines that go on with them.

    See `read_profiles` for the parameters.
    """
    wanted = manifest.names if names is None else tuple(dict.fromkeys(names))
    _check(manifest, spec, as_of, wanted)
    needed = [item.name for item in spec.base(wanted)]
    columns = [f"{expression(spec, name, str(manifest.as_of_us))} AS {name}" for name in wanted]
    return f"SELECT {', '.join([*manifest.keys, *columns])} FROM ({Layers.of(root, manifest).sql(needed)})"


def expression(spec: FeatureSpec, name: str, as_of: str) -> str:
    """Write a feature as SQL over the stored columns."""
    item = spec.get(name)
    if isinstance(item, Feature):
        return name
    return sql_expression(spec, item, [expression(spec, part, as_of) for part in item.inputs], as_of)


def _check(
    manifest: ProfileManifest, spec: FeatureSpec, as_of: dt.datetime | None, wanted: Sequence[str]
) -> None:
    when = EPOCH + manifest.as_of_us * MICROSECOND
    if manifest.spec_hash != spec.hash(manifest.names):
        message = f"the profiles of entity {manifest.entity!r} were made by other feature definitions"
        raise ProfileTableError(f"{message}. Hint: run premia profile --as-of TIME")
    if as_of is not None:
        floored = spec.entity[manifest.entity].floor((as_of - EPOCH) // MICROSECOND)
        if floored != manifest.as_of_us:
            message = f"the profiles of entity {manifest.entity!r} are as of {when}, wanted is {as_of}"
            raise ProfileTableError(f"{message}. Hint: run premia profile --as-of TIME")
    for name in wanted:
        missing = [item.name for item in spec.base([name]) if item.name not in manifest.stored]
        if missing or spec.entity_of(name).name != manifest.entity:
            have = ", ".join(manifest.names)
            raise ProfileTableError(
                f"the profiles of entity {manifest.entity!r} lack {name!r}. They hold {have}"
            )


def _schema(manifest: ProfileManifest, spec: FeatureSpec, columns: Sequence[str]) -> pa.Schema:
    types = key_types(spec, spec.entity[manifest.entity])
    for name in columns[len(types) :]:
        item = spec.get(name)
        floats = isinstance(item, Derived) and spec.is_float(name)
        types[name] = pa.float64() if floats else pa.int64()
    return pa.schema(list(types.items()))
