"""Layout of the tables: made, brought up to date, or refused when it is newer than this version of Premia."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Column, MetaData, String, Table, insert, inspect, select

from serving.errors import StoreError
from serving.records.tables import MASTERS

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from serving.records.keys import Vault

# The newest revision in migrations/versions.
NEWEST = "0003"
_VERSION = Table("alembic_version", MetaData(), Column("version_num", String(32), primary_key=True))


def bring_up_to_date(connection: Connection, vault: Vault) -> None:
    """Make the tables, or move them to the newest layout, in a transaction that locks other writers out.

    Raises
    ------
    StoreError
        If a newer Premia has made them, or another master key wraps their keys.
    """
    current = None
    if inspect(connection).has_table(_VERSION.name):
        current = connection.execute(select(_VERSION.c.version_num)).scalar()
    if current != NEWEST:
        _migrate(connection, vault, current)
    found = connection.execute(select(MASTERS.c.fingerprint)).scalars().all()
    if not found:
        connection.execute(insert(MASTERS), {"fingerprint": vault.fingerprint})
    elif found != [vault.fingerprint]:
        raise StoreError(
            f"the records were encrypted under another master key ({found[0]}) than this one "
            f"({vault.fingerprint}). Hint: restore _serving/master.key or PREMIA_MASTER_KEY from a backup"
        )


def _migrate(connection: Connection, vault: Vault, current: str | None) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes.update(connection=connection, vault=vault)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if current is not None and current not in known:
        raise StoreError(
            f"the record store has layout {current}, this version of Premia knows up to {NEWEST}. "
            "Hint: install the version that made it, or a newer one"
        )
    command.upgrade(config, "head")
