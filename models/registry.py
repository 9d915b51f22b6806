"""The model registry: MLflow on SQLite in one folder. Nothing else in the project imports mlflow.

Artifacts are bundles (native text, JSON, Arrow); no pickle, no code. They are found from the registry's own
folder and the run, so that the folder may be moved.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import tempfile
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Before mlflow is imported: it would report its use over the network.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from mlflow.exceptions import MlflowException

from models.bundle import INDEX, Bundle
from models.compare import NULL
from models.errors import PromotionError, RegistryError
from models.pictures import draw_pictures

if TYPE_CHECKING:
    from collections.abc import Iterator

    from features.spec import FeatureSpec
    from models.training import TrainingResult
    from pricing.product import Product

CHAMPION = "champion"
FAMILY = "premia.family"


@dataclass(frozen=True)
class Thresholds:
    """What a version must show on the test rows before it may price.

    Attributes
    ----------
    least_d2
        Share of the null model's deviance explained; must lie above.
    lowest_ae, highest_ae
        Bounds of actual over expected (claims where they are counted). Two standard errors of a Poisson count
        are allowed when the test rows hold too few claims for these bounds to mean anything.
    """

    least_d2: float = 0.0
    lowest_ae: float = 0.8
    highest_ae: float = 1.25


@dataclass(frozen=True, eq=False)
class Promoted:
    """A version as it serves.

    Attributes
    ----------
    version
        Version in the registry.
    bundle
        The model.
    artifact_hash
        Sha256 of the bundle's index, which holds a checksum of every file.
    """

    version: str
    bundle: Bundle
    artifact_hash: str


class Registry:
    """Trainings, versions and aliases of all products.

    Parameters
    ----------
    folder
        Holds ``mlflow.db`` and ``artifacts/``; made when absent.
    thresholds
        What a version must show before it is promoted.
    """

    def __init__(self, folder: Path, thresholds: Thresholds | None = None) -> None:
        self._folder = folder.resolve()
        self._thresholds = thresholds or Thresholds()

    @cached_property
    def _client(self) -> Any:  # noqa: ANN401 - mlflow's types are not read
        self._folder.mkdir(parents=True, exist_ok=True)
        for chatty in ("alembic", "mlflow.store.db.utils"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
        with _quiet():
            from mlflow.tracking import MlflowClient

            uri = f"sqlite:///{self._folder / 'mlflow.db'}"
            return MlflowClient(tracking_uri=uri, registry_uri=uri)

    def log_training(self, result: TrainingResult) -> str:
        """Log settings, figures, pictures and one bundle per family, and register the champion family.

        Parameters
        ----------
        result
            What `train` gave.

        Returns
        -------
        str
            The new version of ``premia-<product>``.
        """
        name, champion = model_name(result.product.code), result.champion
        with _quiet():
            run = self._client.create_run(self._experiment(name), tags={FAMILY: champion}).info.run_id
            for key, value in result.summary.items():
                self._client.log_param(run, key, value)
            self._client.log_param(run, "product_hash", result.product.hash)
            self._client.log_param(run, "spec_hash", result.spec_hash or "none")
            for family, figures in result.comparison.iterrows():
                for figure, value in figures.items():
                    if math.isfinite(value):
                        self._client.log_metric(run, f"{family}.{figure}", float(value))
            with tempfile.TemporaryDirectory() as staging:
                self._stage(result, Path(staging))
                self._client.log_artifacts(run, staging)
            self._client.set_terminated(run)
            self._create_model(name)
            source = (self._run_folder(run) / champion).as_uri()
            return str(self._client.create_model_version(name, source=source, run_id=run).version)

    def _stage(self, result: TrainingResult, folder: Path) -> None:
        for family in result.models:
            result.bundle(family).save(folder / family)
        draw_pictures(result.judged, folder / "pictures")
        result.comparison.to_csv(folder / "comparison.csv")

    def promote(self, product: str, version: str | int, alias: str = CHAMPION) -> str:
        """Let a version price from now on.

        Parameters
        ----------
        product
            Product code.
        version
            Version in the registry.
        alias
            Role it takes.

        Returns
        -------
        str
            Why it passes, in words.

        Raises
        ------
        PromotionError
            If it does not pass the preset thresholds; nothing is changed.
        RegistryError
            If there is no such version.
        """
        run = self._run_of(product, version)
        with _quiet():
            data = self._client.get_run(run).data
        family = data.tags[FAMILY]
        found = {key.removeprefix(f"{family}."): value for key, value in data.metrics.items()}
        verdict = self._judge(found, float(data.params["test_claims"]))
        with _quiet():
            self._client.set_registered_model_alias(model_name(product), alias, str(version))
        return f"{product} version {version} ({family}) is {alias}: {verdict}"

    def _judge(self, figures: dict[str, float], claims: float) -> str:
        limits = self._thresholds
        d2, ae = figures.get("d2", math.nan), figures.get("claims_ae", figures.get("ae", math.nan))
        slack = 2.0 / math.sqrt(max(claims, 1.0))
        low, high = min(limits.lowest_ae, 1.0 - slack), max(limits.highest_ae, 1.0 + slack)
        problems = []
        if not d2 > limits.least_d2:
            problems.append(
                f"explains {d2:.4f} of the {NULL} model's deviance on test rows; "
                f"needed: above {limits.least_d2:g}"
            )
        if not low <= ae <= high:
            problems.append(
                f"actual over expected is {ae:.3f} on test rows with {claims:g} claims; "
                f"allowed: {low:.3f} to {high:.3f}"
            )
        if problems:
            raise PromotionError(problems)
        return f"explains {d2:.2%} of the {NULL} model's deviance, actual over expected {ae:.3f} on test rows"

    def champion(
        self,
        product: str,
        *,
        expected_product: Product | None = None,
        expected_spec: FeatureSpec | None = None,
        alias: str = CHAMPION,
    ) -> Promoted | None:
        """Load the version that prices a product; None when none was promoted.

        Parameters
        ----------
        product
            Product code.
        expected_product, expected_spec
            What is in service (see `Bundle.load`).
        alias
            Role.

        Raises
        ------
        ArtifactError
            If the stored bundle is damaged or does not match.
        """
        version = self.version_of(product, alias)
        if version is None:
            return None
        run = self._run_of(product, version)
        with _quiet():
            family = self._client.get_run(run).data.tags[FAMILY]
        folder = self._run_folder(run) / family
        bundle = Bundle.load(folder, expected_product=expected_product, expected_spec=expected_spec)
        return Promoted(version, bundle, hashlib.sha256((folder / INDEX).read_bytes()).hexdigest())

    def stored(self, product: str, version: str | int, family: str | None = None) -> tuple[Bundle, str]:
        """Load a version with the sha256 of its artifact; the family it was proposed with when none is named.

        Raises
        ------
        RegistryError
            If there is no such version, or it has no such family.
        """
        run = self._run_of(product, version)
        with _quiet():
            chosen = family or self._client.get_run(run).data.tags[FAMILY]
        folder = self._run_folder(run) / chosen
        if not folder.is_dir():
            present = ", ".join(sorted(path.parent.name for path in folder.parent.glob(f"*/{INDEX}")))
            raise RegistryError(
                f"version {version} of {product!r} has no family {chosen!r}; families: {present}"
            )
        return Bundle.load(folder), hashlib.sha256((folder / INDEX).read_bytes()).hexdigest()

    def load_champion(self, product: str) -> Bundle:
        """Load the model that prices a product.

        Raises
        ------
        RegistryError
            If none was promoted.
        """
        found = self.champion(product)
        if found is None:
            raise RegistryError(
                f"no version of {product!r} has the alias {CHAMPION!r}. Hint: train and promote one"
            )
        return found.bundle

    def version_of(self, product: str, alias: str = CHAMPION) -> str | None:
        """Give the version that has an alias; None when there is none."""
        if not (self._folder / "mlflow.db").exists():
            return None
        try:
            with _quiet():
                return str(self._client.get_model_version_by_alias(model_name(product), alias).version)
        except MlflowException as error:
            if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                return None
            raise

    def pictures(self, product: str, version: str | int) -> Path:
        """Give the folder of a version's pictures."""
        return self._run_folder(self._run_of(product, version)) / "pictures"

    def _run_of(self, product: str, version: str | int) -> str:
        try:
            with _quiet():
                return str(self._client.get_model_version(model_name(product), str(version)).run_id)
        except MlflowException as error:
            raise RegistryError(f"there is no version {version} of {product!r}: {error.message}") from error

    def _run_folder(self, run: str) -> Path:
        return self._folder / "artifacts" / run / "artifacts"

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        return str(
            self._client.create_experiment(name, artifact_location=(self._folder / "artifacts").as_uri())
        )

    def _create_model(self, name: str) -> None:
        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise


def model_name(product: str) -> str:
    """Give the registered name of a product."""
    return f"premia-{product}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out the one warning that mlflow's table definitions raise under SQLAlchemy 2.1."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The ``noload`` loader strategy is deprecated")
        yield
