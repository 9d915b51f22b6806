"""How likely a customer is to buy each product in a month: one additive booster a product, kept as tables.

Each tree looks at one input, so the booster is a sum of one-way tables (`models.compile`): a million
customers are scored by look-ups, one customer in microseconds, and what an input adds is exact. A product
that was bought seldom stays near its rate: its tables are multiplied by purchases / (purchases + 25).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import lightgbm as lgb
import numpy as np

from models.compile import compile_booster
from models.errors import ArtifactError, MismatchError
from models.recommend.metrics import calibration
from models.tables import Axis, TableModel

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from features.spec import FeatureSpec
    from models.recommend.task import Array, Mask, Rows

FORMAT = "premia-propensity-1"
FACTS = ("customer.age", "customer.city_tier", "customer.tenure_days", "customer.owns_shop")
FEATURES = (
    "orders_30d",
    "orders_365d",
    "order_amount_365d",
    "order_amount_mean_365d",
    "order_amount_max_365d",
    "order_rate_365d",
    "orders_apparel_365d",
    "orders_electronics_365d",
    "orders_home_365d",
    "orders_toys_365d",
    "return_share_365d",
    "policies_365d",
    "policies_1095d",
    "days_since_last_policy",
    "claims_1095d",
)
HELD, HAD = "held.", "had."
ROUNDS, PATIENCE, LEAVES, RATE = 250, 10, 2, 0.1
PRIOR_PURCHASES = 25.0
# Rates move, and what an input adds moves less: the level follows a trend, drawn to 0 by this a month.
PRIOR_TREND = 0.05
JUDGED_MONTHS = 3
HOLDOUT = 5  # every fifth customer
BACKGROUND = 20_000


@dataclass(frozen=True)
class Propensity:
    """One product.

    Attributes
    ----------
    tables
        Log-odds of a purchase within a month; each table has mean 0 over the customers who could buy.
    months, bought
        Customer-months in which the product could be bought, and those in which it was.
    margin_minor
        Premium less claims paid per policy of those that have run off; None if none has.
    log_loss, ece
        Over customers who were not learned from; NaN if none of them bought it.
    """

    tables: TableModel
    months: int
    bought: int
    margin_minor: float | None
    log_loss: float
    ece: float

    @property
    def rate(self) -> float:
        """Purchases per eligible customer-month."""
        return self.bought / self.months if self.months else 0.0


@dataclass(frozen=True)
class PropensityModel:
    """Propensities of all products on offer.

    Attributes
    ----------
    as_of
        Nothing later was looked at, ISO 8601.
    spec_hash
        Of the feature definitions in use.
    products
        By code. A product that nobody has bought has tables of its prior rate alone.
    """

    as_of: str
    spec_hash: str
    products: dict[str, Propensity]

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Names of the model inputs: facts, features, products held."""
        return input_names(tuple(self.products))

    @cached_property
    def checksum(self) -> str:
        """Sha256 over the content."""
        return _checksum(self._body())

    def scores(self, values: Array, codes: Sequence[str]) -> Array:
        """Give the propensities of products, shape (n, codes); 0 for a product that the model lacks.

        Parameters
        ----------
        values
            Inputs, shape (n, inputs), NaN where not known.
        codes
            Products.
        """
        out = np.zeros((len(values), len(codes)))
        for position, code in enumerate(codes):
            if code in self.products:
                raw = self.products[code].tables.predict_raw(values)
                out[:, position] = 1.0 / (1.0 + np.exp(-np.clip(raw, -40, 40)))
        return out

    def scores_one(self, row: Sequence[float], codes: Sequence[str]) -> Array:
        """Give the propensities of one customer, shape (1, codes), equal to `scores` but for rounding."""
        out = np.zeros((1, len(codes)))
        known = [at for at, code in enumerate(codes) if code in self.products]
        raw = np.array([self.products[codes[at]].tables.predict_raw_one(row) for at in known])
        out[0, known] = 1.0 / (1.0 + np.exp(-np.clip(raw, -40, 40)))
        return out

    def row(
        self,
        facts: Mapping[str, Any],
        features: Mapping[str, Any],
        held: Collection[str],
        had: Collection[str],
    ) -> Array:
        """Lay out one customer, shape (1, inputs)."""
        known = {name: _number(value) for name, value in (*facts.items(), *features.items())}
        known |= {f"{HELD}{code}": float(code in held) for code in self.products}
        known |= {f"{HAD}{code}": float(code in had) for code in self.products}
        return np.array([[known.get(name, float("nan")) for name in self.inputs]])

    def _body(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "as_of": self.as_of,
            "spec_hash": self.spec_hash,
            "products": {code: _to_json(one) for code, one in self.products.items()},
        }

    def save(self, path: Path) -> None:
        """Write the model as JSON with its checksum, at once or not at all."""
        staged = path.with_name(f".{path.name}.part")
        text = json.dumps({"checksum": self.checksum, **self._body()}, indent=None)
        staged.write_text(text + "\n", encoding="utf-8")
        staged.replace(path)

    @classmethod
    def load(cls, path: Path, spec: FeatureSpec) -> PropensityModel:
        """Read what `save` wrote.

        Raises
        ------
        ArtifactError, MismatchError
            If it is damaged, of another form, or made for other feature definitions.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ArtifactError(f"{path.name} cannot be read: {error}") from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ArtifactError(f"{path.name}: unknown format; allowed: {FORMAT}")
        stored = content.pop("checksum", None)
        found = _checksum(content)
        if stored != found:
            raise ArtifactError(f"{path.name}: checksum {found} of the content is not {stored}")
        if content["spec_hash"] != spec.hash(FEATURES):
            raise MismatchError("feature definitions", str(content["spec_hash"]), spec.hash(FEATURES))
        products = {code: _from_json(one) for code, one in content["products"].items()}
        return cls(content["as_of"], content["spec_hash"], products)


def input_names(codes: tuple[str, ...]) -> tuple[str, ...]:
    """Name the model inputs for some products on offer: facts, features, in force, ever bought."""
    products = [f"{kind}{code}" for kind in (HELD, HAD) for code in codes]
    return (*FACTS, *FEATURES, *products)


def fit_propensity(
    values: Array,
    bought: Mask,
    customer: Rows,
    margin_minor: float | None,
    *,
    month: Rows | None = None,
    seed: int = 1,
    threads: int = 2,
) -> Propensity:
    """Fit one product on its eligible customer-months.

    Parameters
    ----------
    values
        Inputs, shape (n, inputs), NaN where not known.
    bought
        Whether the product was bought within the month, shape (n,).
    customer
        Id, shape (n,); every fifth customer judges and stops the boosting.
    margin_minor
        See `Propensity`.
    month
        Months before the one to score for, 1 the last, shape (n,): the tables are put on the level of the
        month to come by `level_trend`, and judged on the last three. Absent, one level holds for all.
    seed, threads
        Of LightGBM.
    """
    count, n = int(bought.sum()), len(bought)
    rate = (count + 0.5) / (n + 1.0) if n else 1e-6
    base = float(np.log(rate / (1.0 - rate)))
    judging = customer % HOLDOUT == 0
    learn, valid = ~judging, judging
    if min(int(bought[learn].sum()), int(bought[valid].sum())) < 1:
        axes = tuple(Axis(np.empty(0)) for _ in range(values.shape[1]))
        tables = TableModel("logit", base, axes, {}, {})
        return Propensity(tables, n, count, margin_minor, float("nan"), float("nan"))
    booster = _boost(values, bought, learn, valid, base, seed, threads)
    raw = compile_booster(booster, [0] * values.shape[1], "logit").shifted(base)
    share = count / (count + PRIOR_PURCHASES)
    tables = _centred(raw, values[:: max(n // BACKGROUND, 1)], base, share)
    p = 1.0 / (1.0 + np.exp(-tables.predict_raw(values)))
    if month is not None:
        level, slope = level_trend(_by_month(month, bought), _by_month(month, p))
        p = 1.0 / (1.0 + np.exp(-tables.predict_raw(values) - level + slope * month))
        tables = tables.shifted(level)
        recent = valid & (month <= JUDGED_MONTHS)
        valid = recent if recent.any() else valid
    loss, ece = calibration(p[valid], bought[valid])
    return Propensity(tables, n, count, margin_minor, loss, ece)


def level_trend(bought: Array, expected: Array) -> tuple[float, float]:
    r"""Give the log level of a rate in the month to come, and its growth a month.

    Purchases of the month that lies m months back are Poisson with mean
    :math:`E_m \exp(a - b m)`; a and b have normal priors of mean 0, that of a worth `PRIOR_PURCHASES`
    purchases, that of b of deviation `PRIOR_TREND`. Their mode is found by Newton's method.

    Parameters
    ----------
    bought, expected
        Purchases, and what the tables expect, of the months back; shape (months + 1,), the first unused.

    Returns
    -------
    tuple of float
        a and b.
    """
    back = np.arange(len(bought), dtype=np.float64)
    design = np.stack([np.ones_like(back), -back])[:, 1:]
    prior = np.array([PRIOR_PURCHASES, PRIOR_TREND**-2.0])
    found = np.zeros(2)
    for _ in range(50):
        mean = expected[1:] * np.exp(np.clip(found @ design, -20.0, 20.0))
        step = np.linalg.solve(
            (design * mean) @ design.T + np.diag(prior), design @ (bought[1:] - mean) - prior * found
        )
        found = found + np.clip(step, -1.0, 1.0)
        if np.abs(step).max() < 1e-10:
            break
    return float(found[0]), float(found[1])


def _by_month(month: Rows, values: Array | Mask) -> Array:
    return np.bincount(month, values).astype(np.float64)


def _boost(
    values: Array, bought: Mask, learn: Mask, valid: Mask, base: float, seed: int, threads: int
) -> str:
    settings = {
        "objective": "binary",
        "learning_rate": RATE,
        "num_leaves": LEAVES,
        "min_data_in_leaf": int(np.clip(learn.sum() / 100, 20, 500)),
        "interaction_constraints": [[i] for i in range(values.shape[1])],
        "max_bin": 31,
        "lambda_l2": 5.0,
        "seed": seed,
        "num_threads": threads,
        "deterministic": True,
        "force_col_wise": True,
        "verbose": -1,
    }
    sets = [
        lgb.Dataset(values[rows], bought[rows].astype(np.int8), init_score=np.full(int(rows.sum()), base))
        for rows in (learn, valid)
    ]
    sets[1].set_reference(sets[0])
    stop = lgb.early_stopping(PATIENCE, verbose=False)
    booster = lgb.train(settings, sets[0], ROUNDS, valid_sets=[sets[1]], callbacks=[stop])
    return str(booster.model_to_string(num_iteration=max(booster.best_iteration, 1)))


def _centred(raw: TableModel, background: Array, base: float, share: float) -> TableModel:
    """Give each table mean 0 over a background, and draw all towards the base rate."""
    means = raw.contributions(background).mean(axis=0)
    mains = {i: share * (table - means[i]) for i, table in raw.mains.items()}
    intercept = base + share * (raw.intercept + float(means.sum()) - base)
    return TableModel("logit", intercept, raw.axes, mains, {})


def _number(value: Any) -> float:  # noqa: ANN401 - facts and features are numbers, flags or None
    return float(value) if isinstance(value, int | float) else float("nan")


def _checksum(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _to_json(one: Propensity) -> dict[str, Any]:
    return {
        "months": one.months,
        "bought": one.bought,
        "margin_minor": one.margin_minor,
        "log_loss": None if np.isnan(one.log_loss) else one.log_loss,
        "ece": None if np.isnan(one.ece) else one.ece,
        "intercept": one.tables.intercept,
        "axes": [[] if axis.edges is None else axis.edges.tolist() for axis in one.tables.axes],
        "tables": {str(i): table.tolist() for i, table in one.tables.mains.items()},
    }


def _from_json(content: Mapping[str, Any]) -> Propensity:
    axes = tuple(Axis(np.array(edges, dtype=np.float64)) for edges in content["axes"])
    mains = {int(i): np.array(table, dtype=np.float64) for i, table in content["tables"].items()}
    figures = [float("nan") if content[name] is None else content[name] for name in ("log_loss", "ece")]
    tables = TableModel("logit", content["intercept"], axes, mains, {})
    return Propensity(tables, content["months"], content["bought"], content["margin_minor"], *figures)
