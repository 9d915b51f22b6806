"""What is done to a table before a model sees it: pure functions of frames and frozen parameters.

Splits are in `models.splits`, credibility of levels in `models.level_credibility`.
"""

from models.preparation.development import (
    Developed,
    ReportPattern,
    Triangle,
    build_triangle,
    develop,
    report_pattern,
    reported_share,
)
from models.preparation.factor_tables import (
    Columns,
    OneWay,
    TwoWayTable,
    equal_exposure_bounds,
    one_way,
    two_way,
)
from models.preparation.large_loss import (
    CappedClaims,
    IncreasedLimits,
    MeanExcess,
    cap_claims,
    increased_limits,
    mean_excess,
)
from models.preparation.rate_history import (
    Extended,
    OnLevel,
    RateChange,
    extend_exposures,
    on_level,
    rate_level,
)
from models.preparation.table_checks import TableChecks, check_table
from models.preparation.trend import Break, Trend, TrendFactor, average_accident_date, fit_trend
from pricing.product import Periods

__all__ = [
    "Break",
    "CappedClaims",
    "Columns",
    "Developed",
    "Extended",
    "IncreasedLimits",
    "MeanExcess",
    "OnLevel",
    "OneWay",
    "Periods",
    "RateChange",
    "ReportPattern",
    "TableChecks",
    "Trend",
    "TrendFactor",
    "Triangle",
    "TwoWayTable",
    "average_accident_date",
    "build_triangle",
    "cap_claims",
    "check_table",
    "develop",
    "equal_exposure_bounds",
    "extend_exposures",
    "fit_trend",
    "increased_limits",
    "mean_excess",
    "on_level",
    "one_way",
    "rate_level",
    "report_pattern",
    "reported_share",
    "two_way",
]
