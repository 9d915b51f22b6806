"""A tariff: base rates and relativities, made from the tables of a model and turned back into them.

The state of a cell is its raw value, the float of the model's table; nothing else prices. What people see and
edit is its relativity, `exp(raw - reference)` to 12 significant digits, where the reference is the raw value
that the base level had. A relativity that comes back as it was shown leaves the raw value alone, so that a
tariff written to a file and read again gives the same bits; one that was edited becomes
`reference + log(relativity)`, and no other cell moves. Shown again it is the figure that was typed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

import numpy as np

from models.errors import TariffError
from models.links import exp_array, respond_one
from models.risk_model import RiskModel
from models.tables import Axis, TableModel
from models.tariff.scale import Scale, names, union_axis

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from models.encoding import Encoding
    from models.families import Objective
    from models.links import Link
    from models.risk_model import ComponentName, Kind

FAMILY = "tariff"
DIGITS = 12
# By what intervals are taken.
COVARIANCE = "covariance of the GLM"
OWN_DATA = "information of the cell and the base level"
# Half the width of a 95 % interval in standard errors.
NORMAL_95 = 1.959963984540054


def shown(value: float) -> float:
    """Give a relativity or rate as people see it: 12 significant digits."""
    return float(f"{value:.{DIGITS}g}")


@dataclass(frozen=True, eq=False)
class Table:
    """Relativities of one input, or of two together.

    Attributes
    ----------
    scales
        One, or two.
    raw
        Values on the scale of the link, shape (cells,) or (cells, cells).
    reference
        Raw value shown as relativity 1; zero for two inputs.
    base
        Cell of the base level; None for two inputs.
    exposure, claims
        Units of exposure and number of claims of the learn rows in each cell.
    information
        Fisher information of each cell's raw value at dispersion 1, all other tables given.
    variance
        Variance of the logarithm of each relativity at dispersion 1 by the covariance of the GLM behind, zero
        where there is nothing to know; None where no GLM is behind, or its table was restricted since.
    """

    scales: tuple[Scale, ...]
    raw: NDArray[np.float64]
    reference: float
    base: int | None
    exposure: NDArray[np.float64]
    claims: NDArray[np.float64]
    information: NDArray[np.float64]
    variance: NDArray[np.float64] | None = None

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of its inputs."""
        return tuple(scale.input for scale in self.scales)

    @property
    def name(self) -> str:
        """Name in files and messages."""
        return " x ".join(self.inputs)

    @property
    def relativities(self) -> NDArray[np.float64]:
        """Relativities as shown, same shape as `raw`."""
        ratios = exp_array(self.raw.ravel() - self.reference)
        return np.array([shown(ratio) for ratio in ratios.tolist()]).reshape(self.raw.shape)

    def interval(self, dispersion: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Give 95 % intervals of the relativities, NaN at the base and where nothing is known.

        Of a GLM the variance of the logarithm is that of its coefficients, `dispersion x variance`. Else it
        is `dispersion x (1 / I(cell) + 1 / I(base))`: the information of the cell and of the base level,
        given all other tables. Covariance between factors, and the pull of a penalty towards its prior, are
        left out then; the interval says how much the cell's own data can tell. Interactions are measured
        against 1, so that their base has no variance. `interval_kind` says which it is.

        Parameters
        ----------
        dispersion
            Of the component.
        """
        if self.variance is not None:
            variance = np.where(self.variance > 0, dispersion * self.variance, np.inf)
        else:
            with np.errstate(divide="ignore"):
                variance = dispersion / self.information
                if self.base is not None:
                    variance = variance + dispersion / self.information[self.base]
                    variance[self.base] = np.inf
        half = NORMAL_95 * np.sqrt(variance)
        known = np.isfinite(half)
        half = np.where(known, half, 0.0)
        middle = self.raw - self.reference
        low = exp_array((middle - half).ravel()).reshape(middle.shape)
        high = exp_array((middle + half).ravel()).reshape(middle.shape)
        return np.where(known, low, np.nan), np.where(known, high, np.nan)

    @property
    def interval_kind(self) -> str:
        """By what its intervals are taken."""
        return OWN_DATA if self.variance is None else COVARIANCE

    def locate(self, encoding: Encoding, values: NDArray[np.float64]) -> NDArray[np.int64]:
        """Give the flat cell of each encoded risk, shape (n,)."""
        cell = np.zeros(len(values), dtype=np.int64)
        for scale in self.scales:
            cell = cell * scale.cells + scale.locate(values[:, encoding.inputs.index(scale.input)])
        return cell


@dataclass(frozen=True, eq=False)
class Component:
    """Base rate and tables of one component of the risk premium.

    Attributes
    ----------
    name, objective, link
        What is modelled, by which distribution, on which scale. On a logit, relativities act on the odds.
    intercept
        Raw score before the tables.
    tables
        One-way tables, then two-way tables, in the order in which they are added.
    dispersion
        Pearson's, not below 1 for counts; 1 for events.
    """

    name: ComponentName
    objective: Objective
    link: Link
    intercept: float
    tables: tuple[Table, ...]
    dispersion: float

    @property
    def base_raw(self) -> float:
        """Raw score where all relativities are 1."""
        return self.intercept + sum(table.reference for table in self.tables)

    @property
    def base_rate(self) -> float:
        """Rate, amount or probability where all relativities are 1, as shown."""
        return shown(respond_one(self.base_raw, self.link))

    def table(self, *inputs: str) -> Table:
        """Give the table of an input, or of two.

        Raises
        ------
        TariffError
            If there is none.
        """
        for table in self.tables:
            if table.inputs == inputs:
                return table
        present = ", ".join(table.name for table in self.tables)
        raise TariffError([f"{self.name} has no table {' x '.join(inputs)}; tables: {present}"])

    def with_table(self, new: Table) -> Component:
        """Give the component with the table of the same inputs replaced."""
        tables = tuple(new if table.inputs == new.inputs else table for table in self.tables)
        return replace(self, tables=tables)


@dataclass(frozen=True)
class Source:
    """Where a tariff comes from.

    Attributes
    ----------
    version, artifact_hash
        Registered version and sha256 of its artifact; empty when it was not registered.
    family
        Family of its model.
    """

    version: str = ""
    artifact_hash: str = ""
    family: str = ""


@dataclass(frozen=True)
class Record:
    """A restriction and what it cost.

    Attributes
    ----------
    component, table, restriction
        What was restricted, and how, in words.
    cells_before, cells_after
        Number of cells a risk can fall into.
    deviance_before, deviance_after
        Mean deviance of the component on the learn rows, the total restored.
    off_balance
        Factor on the base rate (on the base odds for events) that restored the total.
    largest_change
        Largest change of a relativity that some exposure has, as a share.
    """

    component: str
    table: str
    restriction: str
    cells_before: int
    cells_after: int
    deviance_before: float
    deviance_after: float
    off_balance: float
    largest_change: float

    def __str__(self) -> str:
        """Say it in one sentence."""
        rise = self.deviance_after / self.deviance_before - 1.0
        cells = f", {self.cells_before} -> {self.cells_after} cells" * (self.cells_before != self.cells_after)
        return (
            f"{self.component} {self.table}: {self.restriction}{cells}; deviance "
            f"{self.deviance_before:.6g} -> {self.deviance_after:.6g} ({rise:+.4%}), "
            f"off-balance x {self.off_balance:.6f}, largest change {self.largest_change:.1%}"
        )


@dataclass(frozen=True)
class Change:
    """A cell that a person changed.

    Attributes
    ----------
    component, table, cell
        Where; the table is `base rate` for the base rate of a component.
    before, after
        Relativity, or rate.
    editor
        Who.
    """

    component: str
    table: str
    cell: str
    before: float
    after: float
    editor: str

    def __str__(self) -> str:
        """Say it in one sentence."""
        place = " ".join(part for part in (self.component, self.table, self.cell) if part)
        share = self.after / self.before - 1.0
        return f"{place}: {self.before:.6g} -> {self.after:.6g} ({share:+.1%}) by {self.editor}"


@dataclass(frozen=True, eq=False)
class Tariff:
    """A complete tariff of one product.

    Attributes
    ----------
    product, product_hash, currency
        Product it rates, and the hash of its file.
    kind, benefit_minor, load_minor
        How components make the risk premium (see `RiskModel`).
    encoding
        From risks to inputs.
    components
        In the order in which they multiply.
    source
        Registered version it comes from.
    records, changes
        Restrictions with their cost, and cells that people changed, oldest first.
    """

    product: str
    product_hash: str
    currency: str
    kind: Kind
    benefit_minor: float
    load_minor: float
    encoding: Encoding
    components: tuple[Component, ...]
    source: Source = field(default_factory=Source)
    records: tuple[Record, ...] = ()
    changes: tuple[Change, ...] = ()

    def component(self, name: str) -> Component:
        """Give a component by name.

        Raises
        ------
        TariffError
            If there is none.
        """
        for component in self.components:
            if component.name == name:
                return component
        raise TariffError(
            [f"there is no component {name!r}; components: {', '.join(c.name for c in self.components)}"]
        )

    def table(self, component: str, *inputs: str) -> Table:
        """Give the table of an input (or of two) in a component."""
        return self.component(component).table(*inputs)

    def cell_names(self, table: Table) -> tuple[tuple[str | None, ...], ...]:
        """Give what people call the cells along each side of a table (see `scale.names`)."""
        return tuple(names(scale, self.encoding) for scale in table.scales)

    def with_component(self, new: Component) -> Tariff:
        """Give the tariff with the component of the same name replaced."""
        return replace(self, components=tuple(new if c.name == new.name else c for c in self.components))

    def with_table(self, component: str, new: Table) -> Tariff:
        """Give the tariff with one table replaced."""
        return self.with_component(self.component(component).with_table(new))

    def map_tables(self, change: Callable[[Component, Table], Table]) -> Tariff:
        """Give the tariff with every table changed by a function."""
        return replace(
            self,
            components=tuple(
                replace(c, tables=tuple(change(c, table) for table in c.tables)) for c in self.components
            ),
        )

    def model(self) -> RiskModel:
        """Give the model that prices with the tariff, bit-equal to the one the tariff was made from."""
        return RiskModel(
            self.kind,
            FAMILY,
            self.encoding.inputs,
            {component.name: table_model(component, self.encoding) for component in self.components},
            self.benefit_minor,
            self.load_minor,
        )


def table_model(component: Component, encoding: Encoding) -> TableModel:
    """Give the tables of one component on common axes.

    Where tables cut an input differently, its axis has all their edges and coarse cells are repeated; the
    values themselves are never computed with, so that a tariff that was not changed gives the same bits.

    Parameters
    ----------
    component
        Base rate and tables.
    encoding
        Names and levels of the inputs.
    """
    axes: list[Axis] = []
    for name, levels in zip(encoding.inputs, encoding.levels, strict=True):
        scales = [scale for table in component.tables for scale in table.scales if scale.input == name]
        unused = Axis(None, len(levels)) if levels else Axis(np.empty(0))
        axes.append(union_axis(scales) if scales else unused)
    mains: dict[int, NDArray[np.float64]] = {}
    pairs: dict[tuple[int, int], NDArray[np.float64]] = {}
    for table in component.tables:
        key = tuple(encoding.inputs.index(name) for name in table.inputs)
        raw = table.raw
        for side, (scale, position) in enumerate(zip(table.scales, key, strict=True)):
            raw = raw.take(scale.spread(axes[position]), axis=side)
        if len(key) == 1:
            mains[key[0]] = raw
        else:
            pairs[cast("tuple[int, int]", key)] = raw
    return TableModel(component.link, component.intercept, tuple(axes), mains, pairs)
