"""GLM terms, elastic net, interactions and standard errors, against statsmodels and against planted truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import ModelError
from models.families import GLM, Design, FitSettings
from models.families.glm import solve_glm
from models.families.glm_errors import relativity_variances
from pricing.glm import Glm


def rows(n: int = 4000, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Raw columns, claim rate and exposure, with a curve over age and an effect of fuel by area."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 80, n),
            "density": rng.lognormal(5.0, 1.0, n),
            "fuel": np.array(["petrol", "diesel"])[rng.integers(0, 2, n)],
            "area": np.array(["A", "B", "C"])[rng.integers(0, 3, n)],
        }
    )
    years = rng.uniform(0.2, 1.0, n)
    rate = np.exp(-0.5 + 0.6 * np.cos(frame["age"] / 10) + 0.2 * np.log(frame["density"] / 150))
    rate = rate * np.where((frame["fuel"] == "diesel") & (frame["area"] == "C"), 2.5, 1.0)
    return frame, (rng.poisson(rate * years) / years).astype(float), years


SPLINES = {"age": {"kind": "spline"}, "density": {"kind": "spline"}}


def test_an_integer_under_a_spline_has_a_cell_for_every_value_seen_or_not():
    frame, rate, years = rows()
    keep = (frame["age"] < 40) | (frame["age"] > 50)
    model = GLM(terms=SPLINES).fit(frame[keep], rate[keep], years[keep])
    assert model.scorer_.axes[0].edges.tolist() == [k + 0.5 for k in range(18, 79)]
    curve = model.scorer_.mains[0][:-1]
    assert np.abs(np.diff(curve, n=2)).max() < 0.05  # smooth across the gap too
    truth = 0.6 * np.cos(np.arange(18, 80) / 10)
    inside = (truth - truth.mean()) - (curve - curve.mean())
    assert np.abs(inside).max() < 0.35


@settings(deadline=None, max_examples=6)
@given(st.sampled_from([-1, 1]), st.sampled_from(["spline", "line", "auto"]), st.integers(0, 3))
def test_declared_directions_hold_in_every_cell(sign, kind, seed):
    frame, rate, years = rows(800, seed)
    model = GLM(terms={"age": {"kind": kind}}, monotone={"age": sign}).fit(frame, rate, years)
    assert (sign * np.diff(model.scorer_.mains[0][:-1])).min() >= -1e-9


def test_a_line_is_a_line_and_a_term_can_be_left_out():
    frame, rate, years = rows()
    model = GLM(terms={"age": {"kind": "line"}, "area": {"kind": "none"}}).fit(frame, rate, years)
    assert np.abs(np.diff(model.scorer_.mains[0][:-1], n=2)).max() < 1e-12
    assert (model.explain(frame)["area"] == 0.0).all()


@pytest.mark.parametrize("objective", ["poisson", "gamma", "binary"])
def test_lines_and_errors_are_those_of_statsmodels(objective):
    frame, rate, years = rows(8000)
    rng = np.random.default_rng(1)
    if objective == "gamma":
        rate, years = rng.gamma(2.0, 300.0 * np.exp(0.01 * frame["age"])), np.ones(len(frame))
    elif objective == "binary":
        rate, years = (rate > 0).astype(float), np.ones(len(frame))
    columns = frame[["age", "density"]].astype(float).assign(density=np.round(frame["density"]))
    terms = {name: {"kind": "line"} for name in columns}
    model = GLM(objective, terms=terms).fit(columns, rate, years)
    families = {
        "poisson": sm.families.Poisson(),
        "gamma": sm.families.Gamma(sm.families.links.Log()),
        "binary": sm.families.Binomial(),
    }
    reference = sm.GLM(rate, sm.add_constant(columns), family=families[objective], var_weights=years).fit(
        scale="X2" if objective == "gamma" else None
    )
    effect = model.effects_["age"]
    ages = np.arange(18, 80) - (years @ columns["age"]) / years.sum()
    np.testing.assert_allclose(effect.effect[:-1], reference.params["age"] * ages, rtol=0.02, atol=1e-6)
    np.testing.assert_allclose(effect.error[:-1], reference.bse["age"] * np.abs(ages), rtol=0.03)


def test_the_error_of_a_level_is_that_of_its_claims():
    frame, rate, years = rows(8000)
    model = GLM(inputs=("fuel",)).fit(frame, rate, years)
    claims = pd.Series(rate * years).groupby(frame["fuel"]).sum()
    effect = model.effects_["fuel"]
    other = 1 - effect.base
    assert effect.error_to_base[other] == pytest.approx(np.sqrt((1 / claims).sum()), rel=0.02)
    assert effect.error_to_base[effect.base] == 0.0
    shown = model.relativities(to_base=True).set_index("cell")
    assert shown["relativity"][shown["base"]].tolist() == [1.0]
    assert np.isnan(shown.loc["other", "low"])
    low, high = shown["low"].iloc[other], shown["high"].iloc[other]
    assert low < shown["relativity"].iloc[other] < high
    assert np.log(high / low) == pytest.approx(2 * 1.959964 * effect.error_to_base[other], rel=1e-6)


@pytest.mark.slow
def test_intervals_of_a_curve_hold_the_truth_as_often_as_they_say():
    inside = []
    for seed in range(12):
        frame, rate, years = rows(3000, seed)
        model = GLM(inputs=("age",), terms={"age": {"kind": "spline"}}).fit(frame, rate, years)
        effect = model.effects_["age"]
        truth = 0.6 * np.cos(np.arange(18, 80) / 10)
        share = effect.exposure[:-1] / effect.exposure.sum()
        inside.append(np.abs(effect.effect[:-1] - (truth - share @ truth)) < 1.96 * effect.error[:-1])
    assert 0.88 < np.mean(inside) < 0.995


def test_an_interaction_finds_what_only_two_inputs_together_say():
    frame, rate, years = rows()
    alone = GLM(terms=SPLINES).fit(frame, rate, years)
    both = GLM(terms=SPLINES, interactions=[("fuel", "area"), ("density", "area")]).fit(frame, rate, years)
    assert both.score(frame, rate, years) > alone.score(frame, rate, years) + 0.005
    at = frame.head(4).assign(
        fuel=["diesel", "petrol", "diesel", "petrol"], area=["C", "C", "A", "A"], age=40, density=150.0
    )
    odds = both.predict(at)
    assert (odds[0] / odds[1]) / (odds[2] / odds[3]) == pytest.approx(2.5, rel=0.25)
    raw = both.intercept_ + both.explain(frame).sum(axis=1)
    np.testing.assert_allclose(np.exp(raw), both.predict(frame), rtol=1e-9)
    values = both.encoding_.encode(frame.head(50), "refuse")
    assert [both.scorer_.predict_raw_one(row) for row in values] == both.scorer_.predict_raw(values).tolist()


@pytest.mark.slow
def test_elastic_net_shrinks_to_nothing_and_finds_its_strength():
    frame, rate, years = rows(2000)
    gone = GLM(alpha=10.0, l1_ratio=1.0).fit(frame, rate, years)
    assert np.abs(gone.explain(frame).to_numpy()).max() < 1e-9
    frame["noise"] = np.random.default_rng(5).integers(0, 30, len(frame)).astype(str)
    chosen = GLM(alpha="cv", l1_ratio=1.0).fit(frame, rate, years)
    free = GLM().fit(frame, rate, years)
    assert 0 < chosen.alpha_ < 1
    strength = [np.abs(m.explain(frame)["noise"]).max() for m in (chosen, free)]
    assert strength[0] < strength[1]
    later, later_rate, later_years = rows(4000, 9)
    later["noise"] = np.random.default_rng(6).integers(0, 30, len(later)).astype(str)
    assert chosen.score(later, later_rate, later_years) > free.score(later, later_rate, later_years)
    np.testing.assert_array_equal(GLM(alpha=0.0).fit(frame, rate, years).predict(frame), free.predict(frame))


def test_effects_come_back_from_an_artifact(tmp_path):
    frame, rate, years = rows(1500)
    model = GLM(terms=SPLINES, interactions=[("fuel", "area")], alpha=1e-4).fit(frame, rate, years)
    model.to_artifact(tmp_path, "m")
    again = GLM.from_artifact(tmp_path, "m")
    pd.testing.assert_frame_equal(again.relativities(), model.relativities())
    np.testing.assert_array_equal(again.predict(frame), model.predict(frame))
    assert again.alpha_ == model.alpha_


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"terms": {"fuel": {"kind": "spline"}}}, "'fuel' is a category"),
        ({"terms": {"agee": {"kind": "line"}}}, "'agee', which is not an input"),
        ({"terms": {"age": {"kind": "cubic"}}}, "terms.age.kind"),
        ({"interactions": [("age", "fuel")], "monotone": {"age": 1}}, "'age' has a declared direction"),
        ({"interactions": [("age", "age")]}, "with itself"),
        ({"alpha": -1.0}, "greater than or equal to 0"),
    ],
)
def test_terms_that_do_not_fit_are_refused(given, sentence):
    frame, rate, years = rows(200)
    with pytest.raises(ModelError, match=sentence):
        GLM(**given).fit(frame, rate, years)


def test_a_design_of_constant_target_needs_no_fit():
    flat = Design(np.zeros((40, 1)), np.full(40, 2.0), np.ones(40), ("a",), (0,), (0,), "gamma")
    fit = solve_glm(flat, FitSettings(glm=Glm()))
    assert fit.intercept == pytest.approx(np.log(2.0))


def test_variances_of_relativities_are_those_of_refits():
    """Two inputs that go together: what one cell's own claims say is far too sure."""
    rng = np.random.default_rng(3)
    one = rng.integers(0, 3, 4000)
    values = np.column_stack([one, np.where(rng.random(4000) < 0.9, one, 2 - one)]).astype(float)
    rate = np.array([0.3, 0.4, 0.5])[one]
    design = Design(values, rate, np.ones(4000), ("a", "b"), (3, 3), (0, 0), "poisson")
    chosen = FitSettings(level_claims=0.01)
    logs = []
    for _ in range(60):
        fit = solve_glm(replace(design, target=rng.poisson(rate).astype(float)), chosen)
        logs.append([table[0] - table[2] for table in fit.model.mains.values()])
    found = relativity_variances(fit, replace(design, target=rate), {0: 2, 1: 2})
    np.testing.assert_allclose(np.std(logs, axis=0), np.sqrt([found[(i,)][0] for i in (0, 1)]), rtol=0.25)
    alone = np.sqrt(sum(1 / rate[one == level].sum() for level in (0, 2)))
    assert np.std(logs, axis=0)[0] > 1.5 * alone
    assert found[(0,)][2] == found[(0,)][3] == 0.0


def test_an_interaction_takes_part_in_the_variances():
    frame, rate, years = rows(2000)
    values = np.column_stack([frame["fuel"] == "diesel", pd.factorize(frame["area"])[0]]).astype(float)
    whole = Design(values, rate, years, ("fuel", "area"), (2, 3), (0, 0), "poisson")
    fit = solve_glm(whole, FitSettings(glm=Glm(interactions=[["fuel", "area"]])))
    found = relativity_variances(fit, whole, {0: 0, 1: 0})
    assert found[0, 1].shape == fit.model.pairs[0, 1].shape
    assert (found[0, 1][:2, :3] > 0).all()
    assert (found[0, 1][2] == 0).all()
