"""Public names of the modelling room: exported once, sorted, and those of the preparation exactly these."""

from __future__ import annotations

import pkgutil
import re
from pathlib import Path

import models
from models import errors, preparation

PREPARATION = """
Break CappedClaims Columns Developed Extended IncreasedLimits MeanExcess OnLevel OneWay Periods RateChange
ReportPattern TableChecks Trend TrendFactor Triangle TwoWayTable average_accident_date build_triangle
cap_claims check_table develop equal_exposure_bounds extend_exposures fit_trend increased_limits mean_excess
on_level one_way rate_level report_pattern reported_share two_way
"""
LEVELS_AND_SPLITS = """
CredibilityEncoder LevelCredibility MissingExtraError SplitRows buhlmann_straub folds hierarchical
limited_fluctuation repeated_rows split_rows
"""


def test_the_names_of_the_preparation_are_these():
    assert sorted(preparation.__all__) == sorted(PREPARATION.split())
    assert all(hasattr(preparation, name) for name in preparation.__all__)
    modules = {module.name for module in pkgutil.iter_modules(preparation.__path__)}
    assert modules.isdisjoint(preparation.__all__)


def test_credibility_and_splits_are_exported_with_the_rest():
    assert set(LEVELS_AND_SPLITS.split()) <= set(models.__all__)
    assert all(hasattr(models, name) for name in models.__all__)
    assert len(set(models.__all__)) == len(models.__all__)


def test_every_error_stands_in_the_tree():
    drawn = errors.__doc__ or ""
    kinds = [
        name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)
    ]
    assert len(kinds) > 10
    assert all(name in drawn for name in kinds)


def test_the_page_on_preparation_imports_what_exists():
    page = (Path(__file__).parents[2] / "docs" / "preparation.md").read_text(encoding="utf-8")
    imports = re.findall(r"^from models[.\w]* import .+$", page, re.M)
    assert len(imports) >= 7
    for line in imports:
        exec(line, {})  # noqa: S102 - a line of our own page
