"""The score scale: one risk and a column agree, points follow the formula, more risk never scores less."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pricing.errors import DefinitionError, TechnicalPremiumError
from pricing.product import Product, parse_product, read_product
from pricing.score import DEFAULT_BANDS, LARGEST_MINOR, NO_SCORE, risk_at, scale_of, score, score_array

PRODUCTS = Path(__file__).parents[2] / "data" / "reference" / "products"
TEXT = (PRODUCTS / "motor.toml").read_text(encoding="utf-8")
MOTOR = read_product(PRODUCTS / "motor.toml")
RISKS = st.floats(1e-6, 1e18, allow_nan=False) | st.floats(1e4, 1e6)


def scaled(table: str) -> Product:
    head, rest = TEXT.split("[score]")
    return parse_product(head + "[score]\n" + table + "\n[offer]" + rest.split("[offer]")[1], "motor.toml")


@given(st.lists(RISKS, min_size=1, max_size=50), st.sampled_from([25, 100, 137, 500]))
def test_one_risk_and_a_column_get_the_same_points(risks: list[float], doubling: int) -> None:
    product = scaled(f'reference = "512.37"\ndoubling = {doubling}')
    points, bands = score_array(np.array(risks), product)
    one = [score(risk, product) for risk in risks]
    assert points.tolist() == [item.points for item in one]
    assert [scale_of(product).bands[i] for i in bands] == [item.band for item in one]


@given(st.integers(0, 1000))
def test_points_change_where_the_formula_says(points: int) -> None:
    """Half a point to each side of a whole number of points still rounds to it; more does not."""
    risk = risk_at(points, MOTOR)
    for shift in (-0.49, 0.0, 0.49):
        assert score(risk * 2 ** (shift / 100), MOTOR).points == points
    assert score(risk * 2 ** (0.51 / 100), MOTOR).points == min(points + 1, 1000)
    assert score(risk * 2 ** (-0.51 / 100), MOTOR).points == max(points - 1, 0)


def test_the_threshold_itself_belongs_to_the_higher_points() -> None:
    product = scaled('reference = "0.01"\ndoubling = 500')
    edges = np.sort(np.array([risk_at(k, product) * 2 ** (-0.5 / 500) for k in range(1, 1001)]))
    micros = np.rint(edges * 1e6)
    around = np.concatenate([(micros - 1) / 1e6, micros / 1e6, (micros + 1) / 1e6])
    points, _ = score_array(around, product)
    assert points.tolist() == [score(float(risk), product).points for risk in around]
    assert score(1.0, product).points == 500


@given(st.lists(RISKS, min_size=2, max_size=50))
def test_more_risk_is_never_fewer_points(risks: list[float]) -> None:
    points, bands = score_array(np.sort(np.array(risks)), MOTOR)
    assert (np.diff(points) >= 0).all()
    assert (np.diff(bands) >= 0).all()


def test_the_reference_scores_500_and_a_doubling_adds_a_hundred() -> None:
    found = [score(50_000.0 * 2.0**k, MOTOR).points for k in range(-7, 8)]
    assert found == [0, 0, 0, 100, 200, 300, 400, 500, 600, 700, 800, 900, 1000, 1000, 1000]


def test_no_score_for_what_is_no_risk() -> None:
    points, bands = score_array(np.array([math.nan, 0.0, -1.0, math.inf, 50_000.0]), MOTOR)
    assert points.tolist() == [NO_SCORE] * 4 + [500]
    assert bands.tolist() == [NO_SCORE] * 4 + [2]
    for risk in (math.nan, 0.0, -1.0, math.inf):
        with pytest.raises(TechnicalPremiumError, match="no score"):
            score(risk, MOTOR)
    assert score(LARGEST_MINOR * 1e6, MOTOR).points == 1000


@pytest.mark.parametrize("path", sorted(PRODUCTS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_product_of_the_simulated_insurer_has_a_scale(path: Path) -> None:
    product = read_product(path)
    if product.code.endswith(("_fr", "_eu")):
        with pytest.raises(DefinitionError, match="declares no score"):
            score(1.0, product)
        return
    assert score(risk_at(500, product), product).points == 500
    assert scale_of(product).bands == DEFAULT_BANDS


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('reference = "0.00"', "must be above 0"),
        ('reference = "500.001"', "more digits"),
        ("reference = 500", "score.reference"),
        ('reference = "500"\ndoubling = 10', "score.doubling"),
        ('reference = "500"\ndoublin = 100', "did you mean 'doubling'"),
        (
            'reference = "500"\nbands = [{ code = "A", lowest = 1, name = { en = "a", zh = "a" } }]',
            "begin at 0 and rise",
        ),
        (
            'reference = "500"\nbands = [{ code = "A", lowest = 0, name = { en = "a", zh = "a" } },'
            ' { code = "A", lowest = 5, name = { en = "a", zh = "a" } }]',
            "codes are repeated",
        ),
        (
            'reference = "500"\nbands = [{ code = "A", lowest = 0, name = { en = "a", zh = "a" } },'
            ' { code = "B", lowest = 0, name = { en = "a", zh = "a" } }]',
            "begin at 0 and rise",
        ),
    ],
)
def test_what_a_scale_refuses(table: str, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        scaled(table)
