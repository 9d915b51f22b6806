"""The estimators: scikit-learn's conventions, raw columns, offsets, artifacts, and what they refuse."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from models.errors import ArtifactError, EncodingError, FitError, TrainingDataError
from models.families import GA2M, GLM, Ensemble, Estimator, FitSettings, LightGBM

ROUNDS = 60
OBJECTIVES = ("poisson", "gamma", "tweedie", "binary")
CLASSES = (GLM, LightGBM, GA2M, Ensemble)


# All checks apply; check_array_api_input skips itself unless SCIPY_ARRAY_API is set.
@parametrize_with_checks([GLM(), LightGBM(rounds=300), GA2M(rounds=300), Ensemble(rounds=300, members=2)])
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


def policies(n: int = 3000, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Raw columns, claims, exposure."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 80, n),
            "fuel": pd.Series(np.array(["petrol", "diesel", "electric"])[rng.integers(0, 3, n)]),
            "brand": pd.Categorical(np.array(["B1", "B2", None])[rng.integers(0, 3, n)]),
            "power": np.where(rng.random(n) < 0.2, np.nan, rng.normal(size=n)),
        }
    )
    years = rng.uniform(0.2, 1.0, n)
    rate = 0.6 * np.exp(
        0.02 * (frame["age"] - 50) + 0.5 * (frame["fuel"] == "diesel") + 0.3 * frame["power"].isna()
    )
    return frame, rng.poisson(rate * years).astype(float), years


def target_of(objective: str, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    frame, claims, years = policies(seed=seed)
    rng = np.random.default_rng(seed + 1)
    if objective == "poisson":
        return frame, claims / years, years
    if objective == "binary":
        return frame, (claims > 0).astype(float), np.ones(len(claims))
    paid = rng.gamma(2.0, 500.0, len(claims)) * (1 + (frame["fuel"] == "diesel").to_numpy())
    if objective == "tweedie":
        return frame, claims * paid / years, years
    return frame, paid, np.maximum(claims, 1.0)


def small(kind: type[Estimator], objective: str = "poisson", **given: object) -> Estimator:
    return kind.of(FitSettings(rounds=ROUNDS, members=2), objective, **given)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("kind", CLASSES)
def test_every_family_fits_explains_and_comes_back_bit_equal(kind, objective, tmp_path):
    frame, target, exposure = target_of(objective)
    model = small(kind, objective, unknown="average").fit(frame, target, exposure)
    predicted = model.predict(frame)
    assert (exposure @ predicted) == pytest.approx(exposure @ target, rel=1e-9)
    assert model.score(frame, target, exposure) > 0.01
    parts = model.explain(frame)
    assert list(parts.columns) == list(frame.columns)
    raw = model.intercept_ + parts.sum(axis=1)
    expected = 1 / (1 + np.exp(-raw)) if objective == "binary" else np.exp(raw)
    np.testing.assert_allclose(expected, predicted, rtol=1e-9)
    model.to_artifact(tmp_path, "m")
    again = kind.from_artifact(tmp_path, "m")
    np.testing.assert_array_equal(again.predict(frame), predicted)
    pd.testing.assert_frame_equal(again.explain(frame), parts)
    assert again.get_params() == model.get_params()
    assert again.versions_ == model.versions_
    assert {"python", "lightgbm", "glum", "numpy"} <= set(again.versions_)
    again.predict(frame[::-1])
    with pytest.raises(ValueError, match="feature names"):
        again.predict(frame[frame.columns[::-1]])


@pytest.mark.parametrize("objective", ["poisson", "gamma", "tweedie"])
@pytest.mark.parametrize("kind", CLASSES)
def test_an_offset_that_is_the_whole_model_leaves_nothing_to_learn(kind, objective):
    frame, target, exposure = target_of(objective)
    base = 0.05 * (frame["age"].to_numpy() - 50.0)
    plain = small(kind, objective).fit(frame, target, exposure)
    moved = small(kind, objective).fit(frame, target * np.exp(base), exposure, offset=base)
    predicted = moved.predict(frame, offset=base)
    assert (exposure @ predicted) == pytest.approx(exposure @ (target * np.exp(base)), rel=1e-9)
    if objective == "gamma":  # weights do not move, so the fit is the same but for the balance
        ratio = predicted / np.exp(base) / plain.predict(frame)
        assert np.ptp(ratio) < 1e-6


def test_the_offset_form_of_exposure_gives_the_same_model():
    frame, rate, years = target_of("poisson")
    by_weight = GLM().fit(frame, rate, years)
    by_offset = GLM().fit(frame, rate * years, offset=np.log(years))
    np.testing.assert_allclose(
        by_offset.predict(frame, offset=np.log(years)), by_weight.predict(frame) * years, rtol=1e-9
    )


@pytest.mark.parametrize("kind", CLASSES)
def test_what_the_fit_did_not_see_is_refused_or_averaged(kind):
    frame, rate, years = target_of("poisson")
    strange = frame.head(4).copy()
    strange["fuel"] = ["petrol", "steam", "steam", None]
    strange["age"] = strange["age"].astype(float)
    strange.loc[0, "age"] = np.nan
    model = small(kind).fit(frame, rate, years)
    with pytest.raises(EncodingError) as caught:
        model.predict(strange)
    said = str(caught.value)
    assert "2 rows: fuel has levels that the fit did not see: 'steam' (2)" in said
    assert "1 rows: fuel is missing, but never was in the fit" in said
    assert "1 rows: age is missing" in said
    model.set_params(unknown="average")
    given = frame.head(4).copy()
    raws = []
    shares = pd.Series(years).groupby(frame["fuel"]).sum() / years.sum()
    for level, share in shares.items():
        given["fuel"] = level
        raws.append(share * np.log(model.predict(given)))
    averaged = np.log(model.predict(strange))
    np.testing.assert_allclose(averaged[1:], np.sum(raws, axis=0)[1:], rtol=1e-9)
    np.testing.assert_allclose(model.intercept_ + model.explain(strange).sum(axis=1), averaged, rtol=1e-9)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ({"exposure": 0.0, "y": 0.0}, "2 rows: exposure is zero or negative"),
        ({"exposure": -1.0, "y": 1.0}, "2 rows: claims without exposure"),
        ({"exposure": np.nan}, "2 rows: exposure is missing or not finite"),
        ({"y": np.nan}, "2 rows: the target is missing or not finite"),
        ({"y": np.inf}, "2 rows: the target is missing or not finite"),
        ({"y": -1.0}, "2 rows: the target is negative"),
        ({"power": np.inf}, "2 rows: power is infinite"),
    ],
)
def test_bad_rows_are_refused_with_their_count(fault, sentence):
    frame, rate, years = target_of("poisson")
    for name, value in fault.items():
        column = {"y": rate, "exposure": years}.get(name)
        if column is None:
            frame.loc[[3, 5], name] = value
        else:
            column[[3, 5]] = value
    with pytest.raises((TrainingDataError, EncodingError), match=sentence):
        GLM().fit(frame, rate, years)


def test_events_amounts_and_constant_targets_are_checked():
    frame, _, years = target_of("poisson")
    two = np.where(np.arange(len(frame)) < 7, 2.0, 1.0)
    with pytest.raises(TrainingDataError, match="7 rows: the event is neither 0 nor 1"):
        GLM("binary").fit(frame, two)
    with pytest.raises(TrainingDataError, match="7 rows: the amount is not positive"):
        GLM("gamma").fit(frame, 2.0 - two)
    with pytest.raises(TrainingDataError, match="the target is constant: 1 in all 3000 rows"):
        GLM().fit(frame, np.ones(len(frame)), years)
    with pytest.raises(TrainingDataError, match="log link"):
        GLM("binary").fit(frame, two - 1.0, offset=years)


def test_columns_are_checked():
    frame, rate, years = target_of("poisson")
    with pytest.raises(TrainingDataError, match=r"protected attributes \['fuel'\] are never inputs"):
        GLM(protected=("fuel", "sex")).fit(frame, rate, years)
    with pytest.raises(TrainingDataError, match="did you mean 'power'"):
        GLM(inputs=("powr",)).fit(frame, rate, years)
    with pytest.raises(TrainingDataError, match="'fuel'.*not a number"):
        GLM(monotone={"fuel": 1}).fit(frame, rate, years)
    with pytest.raises(TrainingDataError, match="objective is 'poison'; allowed"):
        GLM("poison").fit(frame, rate, years)
    with pytest.raises(EncodingError, match="neither a number nor levels"):
        GLM().fit(frame.assign(day=pd.Timestamp("2026-01-01")), rate, years)
    with pytest.raises(EncodingError, match="repeated"):
        GLM().fit(frame[["age", "age"]], rate, years)


def test_inputs_pick_columns_so_that_whole_tables_can_be_passed():
    frame, rate, years = target_of("poisson")
    model = GLM(inputs=("age", "fuel"), protected=("brand",)).fit(frame, rate, years)
    assert list(model.explain(frame).columns) == ["age", "fuel"]
    np.testing.assert_array_equal(model.predict(frame), model.predict(frame[frame.columns[::-1]]))


@pytest.mark.parametrize("kind", CLASSES)
def test_declared_directions_are_kept(kind):
    frame, rate, years = target_of("poisson")
    model = small(kind, monotone={"age": -1}).fit(frame, rate, years)
    grid = frame.head(1).loc[[0] * 60].assign(age=np.arange(18, 78))
    assert np.diff(model.predict(grid)).max() <= 1e-12


def test_estimators_clone_and_cross_validate():
    frame, rate, years = target_of("poisson")
    model = clone(LightGBM(rounds=20, seed=3))
    assert model.get_params()["seed"] == 3
    scores = cross_val_score(model, frame, rate, params={"exposure": years}, cv=3)
    assert np.isfinite(scores).all()


def test_a_foreign_or_damaged_artifact_is_refused(tmp_path):
    frame, rate, years = target_of("poisson")
    GLM().fit(frame, rate, years).to_artifact(tmp_path, "m")
    with pytest.raises(ArtifactError, match="expected premia-estimator-1 of GA2M"):
        GA2M.from_artifact(tmp_path, "m")
    with pytest.raises(ArtifactError, match="cannot be read"):
        GLM.from_artifact(tmp_path, "absent")
    path = tmp_path / "m.arrow"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ArtifactError, match="do not match their checksum"):
        GLM.from_artifact(tmp_path, "m")


@pytest.mark.parametrize("least", [0.0, 40.0])
def test_a_leaf_expects_as_many_claims_as_asked(least):
    frame, target, exposure = target_of("poisson")
    one_tree = FitSettings(
        rounds=1, stopping_share=0.0, bagging_share=1.0, feature_share=1.0, leaf_rows=20, leaf_claims=least
    )
    predicted = (
        LightGBM.of(one_tree, "poisson", unknown="average").fit(frame, target, exposure).predict(frame)
    )
    mean = exposure @ target / exposure.sum()
    claims = pd.Series(exposure * mean).groupby(np.round(predicted, 12)).sum()
    assert (claims.min() >= 0.999 * least) if least else (claims.min() < 40.0)


def test_claims_of_a_leaf_are_refused_where_rows_expect_none():
    frame, target, exposure = target_of("gamma")
    model = LightGBM.of(FitSettings(leaf_claims=5.0), "gamma", unknown="average")
    with pytest.raises(FitError, match="leaf_rows"):
        model.fit(frame, target, exposure)
