"""The tariff: base rates and relativities that people read, edit and file, and that price as they stand."""

from models.tariff.diff import Diff, diff
from models.tariff.distil import Distilling, distil, lost_pairs
from models.tariff.fidelity import Fidelity, fidelity
from models.tariff.figures import draw_tariff, factor_figure, pair_figure
from models.tariff.files import read_tariff, read_unedited, write_tariff
from models.tariff.making import make_tariff, measured, rebased
from models.tariff.proposal import tariff_rows
from models.tariff.record import restrict
from models.tariff.restriction import Banding, Capping, Monotone, Restriction, Rounding, Smoothing
from models.tariff.rows import Rows
from models.tariff.scale import Scale
from models.tariff.state import tariff_hash
from models.tariff.tariff import Change, Component, Record, Source, Table, Tariff

__all__ = [
    "Banding",
    "Capping",
    "Change",
    "Component",
    "Diff",
    "Distilling",
    "Fidelity",
    "Monotone",
    "Record",
    "Restriction",
    "Rounding",
    "Rows",
    "Scale",
    "Smoothing",
    "Source",
    "Table",
    "Tariff",
    "diff",
    "distil",
    "draw_tariff",
    "factor_figure",
    "fidelity",
    "lost_pairs",
    "make_tariff",
    "measured",
    "pair_figure",
    "read_tariff",
    "read_unedited",
    "rebased",
    "restrict",
    "tariff_hash",
    "tariff_rows",
    "write_tariff",
]
