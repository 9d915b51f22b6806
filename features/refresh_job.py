"""What one refresh works with: its definitions, its inputs and the engine."""

# ruff: noqa: S608
# Every name in the text has passed the pattern and the key word check of load.

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from features.compile import compile_profiles
from features.partials import event_time, is_event, known_time
from features.profiles import check_tables
from features.refresh_changes import can_matter, patch_groups, rows_between, windows
from features.refresh_inputs import clocks
from features.refresh_store import bucket_sql, key_types

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import duckdb

    from features.refresh_inputs import Snapshot
    from features.refresh_manifest import InputFile, PatchGroup
    from features.spec import Entity, Feature, FeatureSpec, Source

LABELS = "_profile_labels"


def sources_of(spec: FeatureSpec, entity: Entity) -> tuple[Source, ...]:
    """Give the sources whose events make somebody known: those that have all keys of the entity."""
    return tuple(source for source in spec.sources if set(entity.keys) <= set(source.keys))


def population_hash(sources: Sequence[Source]) -> str:
    """Fingerprint what decides who has a row."""
    facts = [(source.table, clocks(source), is_event(source)) for source in sources]
    return hashlib.sha256(repr(sorted(facts)).encode()).hexdigest()


@dataclass
class Job:
    """One refresh.

    Parameters
    ----------
    root, spec, entity, names
        What is made of what, where.
    as_of_us
        The moment, floored to the grain of the entity.
    stored
        The aggregates behind the names.
    snapshot
        Event files.
    con
        The engine.
    report
        Told (step, share done).
    read
        Event files that were opened, by (table, path, checksum).
    """

    root: Path
    spec: FeatureSpec
    entity: Entity
    names: tuple[str, ...]
    as_of_us: int
    stored: tuple[Feature, ...]
    snapshot: Snapshot
    con: duckdb.DuckDBPyConnection
    report: Callable[[str, float], None]
    read: set[tuple[str, str, str]] = field(default_factory=set)

    @contextmanager
    def apart(self) -> Iterator[Job]:
        """Give the same job on a connection of its own, whose temporary tables nobody else sees."""
        with self.con.cursor() as con:
            con.execute("SET enable_progress_bar = false")  # a setting of the connection
            yield replace(self, con=con)

    @property
    def keys(self) -> str:
        """The keys of the entity, as a list in SQL."""
        return ", ".join(self.entity.keys)

    @property
    def sources(self) -> tuple[Source, ...]:
        """Sources that say who has a row, among them all that the features use."""
        return sources_of(self.spec, self.entity)

    def group(self, source: Source) -> list[Feature]:
        """Give the stored features of a source."""
        return [item for item in self.stored if item.source == source.name]

    @property
    def groups(self) -> tuple[PatchGroup, ...]:
        """The stored features by source and window."""
        return tuple(part for source in self.sources for part in patch_groups(source, self.group(source)))

    def files(self, table: str) -> list[InputFile]:
        """Give the event files of a table."""
        return [file for file in self.snapshot.files.values() if file.table == table]

    def open(self, files: Sequence[InputFile]) -> None:
        """Note that files are read."""
        self.read.update((file.table, file.path, file.sha256) for file in files)

    def bucketed(self, rows: str) -> str:
        """Add the bucket to rows."""
        key = self.entity.keys[0]
        bucket = bucket_sql(key, key_types(self.spec, self.entity)[key])
        columns = ", ".join(item.name for item in self.stored)
        return f"SELECT {self.keys}, {columns}, {bucket} AS bucket FROM ({rows})"

    def match(self, left: str, right: str) -> str:
        """Write that two aliases have the same keys."""
        return " AND ".join(f"{left}.{key} = {right}.{key}" for key in self.entity.keys)

    def known_sql(self, only: str | None = None) -> str:
        """Select the keys of everybody of whom an event was seen before as-of.

        Parameters
        ----------
        only
            Table of keys to look among; all by default.
        """
        found = []
        for source in self.sources:
            wanted = [(name, None, self.as_of_us) for name in clocks(source)]
            files = [file for file in self.files(source.table) if can_matter(file, wanted)]
            if not files:
                continue
            self.open(files)
            rows = self.snapshot.view(source.table, files)
            seen = [f"{text(source)} < {self.as_of_us}" for text in (event_time, known_time)]
            known = [f"{key} IS NOT NULL" for key in self.entity.keys]
            where = " AND ".join(filter(None, [is_event(source), *dict.fromkeys(seen), *known]))
            among = f" SEMI JOIN {only} USING ({self.keys})" if only else ""
            found.append(f"SELECT DISTINCT {self.keys} FROM (SELECT * FROM ({rows}) WHERE {where}){among}")
        return "\nUNION ".join(found) or f"SELECT {self.keys} FROM ({self._no_keys()})"

    def _no_keys(self) -> str:
        types = key_types(self.spec, self.entity)
        columns = ", ".join(f"CAST(NULL AS {_sql_type(types[key])}) AS {key}" for key in types)
        return f"SELECT {columns} WHERE false"

    def evaluate_sql(self, people: str, stored: Sequence[Feature]) -> str:
        """Evaluate features for the keys of a table, by the one definition that all engines compile.

        Parameters
        ----------
        people
            Table with the keys.
        stored
            Features wanted.
        """
        self.con.execute(
            f"CREATE OR REPLACE TEMP TABLE {LABELS} AS SELECT row_number() OVER () AS row_id, {self.keys}, "
            f"make_timestamp({self.as_of_us}) AS as_of FROM {people}"
        )
        for table in dict.fromkeys(source.table for source in self.sources):
            # The events that the features can look at, under the table's own name.
            sources = [source for source in self.sources if source.table == table]
            self.con.execute(f"CREATE OR REPLACE TEMP VIEW {table} AS {self.events_sql(sources, stored)}")
        names = [item.name for item in stored]
        query = compile_profiles(self.spec, names, labels=LABELS)
        check_tables(self.con, query.sources)
        return f"SELECT {self.keys}, {', '.join(names)} FROM ({query.sql}) JOIN {LABELS} USING (row_id)"

    def events_sql(self, sources: Sequence[Source], stored: Sequence[Feature]) -> str:
        """Select the rows of a table, that of some sources, that features can look at."""
        wanted: list[tuple[str, int | None, int]] = []
        for source in sources:
            lengths = windows([item for item in stored if item.source == source.name])
            if lengths:
                # None, the whole life, is longer than any other window.
                since = None if None in lengths else self.as_of_us - max(filter(None, lengths))
                wanted.append((source.time, since, self.as_of_us))
        table = sources[0].table
        files = [file for file in self.files(table) if can_matter(file, wanted)]
        self.open(files)
        return f"SELECT * FROM ({self.snapshot.view(table, files)}) WHERE {rows_between(wanted)}"


def _sql_type(kind: object) -> str:
    return "VARCHAR" if str(kind) == "string" else "BIGINT"
