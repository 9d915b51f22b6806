"""The tariff: base rates and relativities that people read, edit and file, and that price as they stand."""

from models.tariff.files import read_tariff, write_tariff
from models.tariff.making import make_tariff, measured, rebased
from models.tariff.rows import Rows
from models.tariff.scale import Scale
from models.tariff.state import tariff_hash
from models.tariff.tariff import Change, Component, Record, Source, Table, Tariff

__all__ = [
    "Change",
    "Component",
    "Record",
    "Rows",
    "Scale",
    "Source",
    "Table",
    "Tariff",
    "make_tariff",
    "measured",
    "read_tariff",
    "rebased",
    "tariff_hash",
    "write_tariff",
]
