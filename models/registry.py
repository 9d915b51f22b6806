"""The model registry: MLflow on SQLite in one folder. Nothing else in the project imports mlflow.

Artifacts are bundles (native text, JSON, Arrow); no pickle, no code. They are found from the registry's own
folder and the run, so that the folder may be moved.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import shutil
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

from data.page import write_page
from models.archive import Archive
from models.audit import Action, AuditLog, Entry, Identity, Period, service_entries
from models.bundle import INDEX, Bundle
from models.challenge_log import Challenge, ChallengeLog
from models.errors import MismatchError, PromotionError, RegistryError
from models.families.base import library_versions
from models.pictures import draw_pictures
from models.plan_log import PlanLog
from models.promotion import Decision, assess, check_second_person
from models.report import Circumstances, comparison_page
from pricing.plan import MILLION

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from features.spec import FeatureSpec
    from models.challenge_log import Kind
    from models.training import TrainingResult
    from pricing.plan import RatingPlan
    from pricing.product import Product

CHAMPION = "champion"
REPORT = "report.html"
FAMILY, AUTHOR, STATE, APPROVER = "premia.family", "premia.author", "premia.state", "premia.approver"


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
    period
        Since when, with which plan, and who approved.
    """

    version: str
    bundle: Bundle
    artifact_hash: str
    period: Period


class Registry:
    """Trainings, versions and what priced when, of all products.

    The audit log says which version is in service; the alias and the tags of MLflow repeat it for its pages.

    Parameters
    ----------
    folder
        Holds ``mlflow.db``, ``artifacts/``, ``archive/`` and ``audit.db``; made when absent.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self.audit = AuditLog(self._folder / "audit.db")
        self.plans = PlanLog(self.audit)
        self.challenges = ChallengeLog(self.audit)
        self.archive = Archive(self._folder / "archive")
        self.golden = self._folder / "archive" / "golden"

    @cached_property
    def _client(self) -> Any:  # noqa: ANN401 - mlflow's types are not read
        self._folder.mkdir(parents=True, exist_ok=True)
        for chatty in ("alembic", "mlflow.store.db.utils"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
        with _quiet():
            from mlflow.tracking import MlflowClient

            uri = f"sqlite:///{self._folder / 'mlflow.db'}"
            return MlflowClient(tracking_uri=uri, registry_uri=uri)

    def log_training(self, result: TrainingResult, *, author: str, at: datetime) -> str:
        """Log settings, figures, tests, report and one bundle per family, and propose the champion family.

        Parameters
        ----------
        result
            What `train` gave.
        author
            Who trained; someone else approves.
        at
            Time, UTC without zone.

        Returns
        -------
        str
            The new version of ``premia-<product>``; `decision` says what the thresholds found.
        """
        if not author.strip():
            raise RegistryError("a training needs the name of its author. Hint: PREMIA_AUTHOR")
        product, champion = result.product, result.champion
        decision = assess(product.promotion, result.judged, champion, result.against)
        name = model_name(product.code)
        with _quiet():
            tags = {FAMILY: champion, AUTHOR: author}
            run = self._client.create_run(self._experiment(name), tags=tags).info.run_id
            self._log_figures(run, result)
            with tempfile.TemporaryDirectory() as staging:
                self._stage(result, decision, Path(staging), author, at)
                # Not by the client: it writes where the registry was when the experiment began.
                shutil.copytree(staging, self._run_folder(run), dirs_exist_ok=True)
            self._client.set_terminated(run)
            self._create_model(name)
            source = (self._run_folder(run) / champion).as_uri()
            version = str(self._client.create_model_version(name, source=source, run_id=run).version)
        self.record_decision(product.code, version, decision, who=author, at=at)
        return version

    def _log_figures(self, run: str, result: TrainingResult) -> None:
        from mlflow.entities import Metric, Param

        judged = result.judged
        figures = {
            f"{family}.{figure}": float(value)
            for family, line in result.comparison.iterrows()
            for figure, value in line.items()
        }
        for test in judged.response.tests.to_dict("records"):
            pair = f"{test['model']}_against_{test['against']}"
            figures |= {f"{pair}.{key}": float(test[key]) for key in ("difference", "p_holm")}
        texts = {
            **result.summary,
            "product_hash": result.product.hash,
            "spec_hash": result.spec_hash or "none",
        }
        texts["versions"] = ", ".join(f"{name} {found}" for name, found in result.bundle().versions.items())
        self._client.log_batch(
            run,
            metrics=[Metric(key, value, 0, 0) for key, value in figures.items() if math.isfinite(value)],
            params=[Param(key, str(value)) for key, value in texts.items()],
        )

    def _stage(
        self, result: TrainingResult, decision: Decision, folder: Path, author: str, at: datetime
    ) -> None:
        for family in result.models:
            result.bundle(family).save(folder / family)
        draw_pictures(result.judged, folder / "pictures")
        result.comparison.to_csv(folder / "comparison.csv")
        result.judged.response.tests.to_csv(folder / "tests.csv", index=False)
        around = Circumstances(at, author, result.summary, library_versions())
        page = comparison_page(result.product, result.judged, {result.champion: decision}, around)
        write_page(page, folder / REPORT)
        (folder / "decision.json").write_text(json.dumps(decision.to_json(), indent=1) + "\n", "utf-8")

    def record_decision(
        self, product: str, version: str, decision: Decision, *, who: str, at: datetime
    ) -> None:
        """Write down what the thresholds say of a version, at training or when it is compared anew."""
        action: Action = "proposed" if decision.outcome == "promoted" else decision.outcome
        self.audit.append([Entry(at, product, version, action, who, decision.to_json())])
        self._tag(product, version, {STATE: action})

    def decision(self, product: str, version: str | int) -> Decision:
        """Give what the thresholds said last of a version.

        Raises
        ------
        RegistryError
            If there is no such version, or it was never compared.
        """
        self._run_of(product, version)
        for entry in reversed(self.audit.entries(product, str(version))):
            if entry.action in ("proposed", "refused", "insufficient_evidence"):
                return Decision.from_json(entry.detail)
        raise RegistryError(
            f"version {version} of {product!r} was never held against the thresholds. Hint: premia compare"
        )

    def promote(self, product: str, version: str | int, *, by: str, plan: RatingPlan, at: datetime) -> str:
        """Let a version price from now on, with a rating plan, approved by a second person.

        A version that was in service before may return, and the one in service may be approved anew with
        another plan; neither is asked to gain on what is in service.

        Parameters
        ----------
        product
            Product code.
        version
            Version in the registry.
        by
            Who approves; not the author.
        plan
            Rating plan it prices with.
        at
            Time, UTC without zone.

        Returns
        -------
        str
            What was done and why, in words.

        Raises
        ------
        PromotionError
            If it does not meet the thresholds, was held against a model that is no longer in service, or an
            author approves; nothing is changed.
        PlanStateError
            If the plan was changed after it was approved, or is retired.
        RegistryError
            If there is no such version.
        """
        version = str(version)
        run = self._run_of(product, version)
        with _quiet():
            tags = self._client.get_run(run).data.tags
        name = check_second_person(tags[AUTHOR], by)
        current = self.version_of(product)
        served = any(period.version == version for period in self.audit.periods(product))
        verdict = "was in service before" if served else self._passed(product, version, current)
        self.plans.check_promotable(plan, name)
        identity = self._identity(run, tags[FAMILY], tags[AUTHOR], plan)
        self.audit.append(service_entries(product, version, name, at, identity, current))
        self._mirror(product, version, current, name)
        return f"{product} version {version} ({tags[FAMILY]}) is {CHAMPION}, approved by {name}: {verdict}"

    def challenge(
        self, product: str, version: str | int, *, share: float | None, by: str, at: datetime
    ) -> Challenge:
        """Let a version be tried beside the one in service, approved by a second person.

        A challenger must meet every threshold of promotion but one: the gain on the model in service, which
        it is tried to find out, may be undecided (not missed). A shadow, which prices nobody, need not.

        Parameters
        ----------
        product, version
            Which.
        share
            Of the customers whom it prices; None for a shadow.
        by
            Who approves; not the author.
        at
            Time, UTC without zone.

        Raises
        ------
        PromotionError
            If it does not meet these thresholds, was held against another model than the one in service, or
            an author approves.
        RegistryError
            If nothing is in service, it is in service itself, another challenge runs, its product file or
            feature definitions are not those in service, or the product prices own claims.
        """
        version = str(version)
        run = self._run_of(product, version)
        with _quiet():
            tags = self._client.get_run(run).data.tags
        name = check_second_person(tags[AUTHOR], by)
        current = self.current(product)
        if current is None or current.version == version:
            state = "nothing is in service" if current is None else f"version {version} is in service"
            raise RegistryError(f"{product}: {state}; a challenge needs another version beside it")
        bundle, found = self.stored(product, version, tags[FAMILY])
        own, champion = (bundle.product.hash, bundle.spec_hash), current.identity
        if own != (champion.product_hash, champion.spec_hash):
            raise RegistryError(
                f"version {version} of {product} was trained for another product file or other features than "
                f"version {current.version} in service. Hint: premia train"
            )
        if bundle.product.experience is not None and bundle.product.experience.scale is None:
            raise RegistryError(
                f"{product} prices own claims, whose sums rest on the model in service; no version can be "
                "tried beside it"
            )
        if share is not None:
            self._challenging(product, version, current.version)
        kind: Kind = "shadow" if share is None else "challenger"
        parts = round((share or 0.0) * MILLION)
        wanted = Challenge(
            product, version, kind, parts, current.version, tags[FAMILY], found, tags[AUTHOR], name, at
        )
        return self.challenges.begin(wanted)

    def _challenging(self, product: str, version: str, current: str) -> None:
        decision = self.decision(product, version)
        self._held_against(decision, version, current, product)
        problems = decision.problems(undecided_gain=True)
        if problems:
            raise PromotionError(problems)

    def _passed(self, product: str, version: str, current: str | None) -> str:
        decision = self.decision(product, version)
        if decision.outcome != "promoted":
            raise PromotionError([decision.words()])
        self._held_against(decision, version, current, product)
        return decision.words()

    def _held_against(self, decision: Decision, version: str, current: str | None, product: str) -> None:
        if decision.against != (current or ""):
            raise PromotionError(
                [
                    f"version {version} was held against {decision.against or 'no model'}, but version "
                    f"{current or 'none'} is in service now. Hint: premia compare {product} --data TABLE"
                ]
            )

    def _identity(self, run: str, family: str, author: str, plan: RatingPlan) -> Identity:
        folder = self._run_folder(run) / family
        bundle = Bundle.load(folder)
        self.archive.keep(bundle.product, plan)
        return Identity(
            family,
            bundle.product.hash,
            _artifact_hash(folder),
            bundle.spec_hash,
            plan.code,
            plan.version,
            plan.hash,
            plan.filing,
            author,
            plan.effective_from.isoformat(),
            "" if plan.effective_to is None else plan.effective_to.isoformat(),
        )

    def _mirror(self, product: str, version: str, before: str | None, approver: str) -> None:
        if before not in (None, version):
            self._tag(product, str(before), {STATE: "retired"})
        self._tag(product, version, {STATE: "in_service", APPROVER: approver})
        with _quiet():
            self._client.set_registered_model_alias(model_name(product), CHAMPION, version)

    def _tag(self, product: str, version: str, tags: dict[str, str]) -> None:
        with _quiet():
            for key, value in tags.items():
                self._client.set_model_version_tag(model_name(product), version, key, value)

    def champion(
        self,
        product: str,
        *,
        expected_product: Product | None = None,
        expected_spec: FeatureSpec | None = None,
    ) -> Promoted | None:
        """Load the version that prices a product; None when none was promoted.

        Parameters
        ----------
        product
            Product code.
        expected_product, expected_spec
            What is in service (see `Bundle.load`).

        Raises
        ------
        ArtifactError
            If the stored bundle is damaged or does not match.
        """
        period = self.current(product)
        if period is None:
            return None
        folder = self._run_folder(self._run_of(product, period.version)) / period.identity.family
        bundle = Bundle.load(folder, expected_product=expected_product, expected_spec=expected_spec)
        found = _artifact_hash(folder)
        if found != period.identity.model_hash:
            raise MismatchError("models", found, period.identity.model_hash)
        return Promoted(period.version, bundle, found, period)

    def versions(self, product: str) -> list[str]:
        """Give all versions of a product, oldest first."""
        if not (self._folder / "mlflow.db").exists():
            return []
        with _quiet():
            found = self._client.search_model_versions(f"name = '{model_name(product)}'")
        return [str(number) for number in sorted(int(item.version) for item in found)]

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
        return Bundle.load(folder), _artifact_hash(folder)

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
                f"no version of {product!r} is in service. Hint: premia train, then premia promote"
            )
        return found.bundle

    def version_of(self, product: str) -> str | None:
        """Give the version that prices; None when there is none."""
        period = self.current(product)
        return None if period is None else period.version

    def current(self, product: str) -> Period | None:
        """Give the period that goes on: what prices, since when; None when nothing does."""
        periods = self.audit.periods(product)
        return periods[-1] if periods and periods[-1].until is None else None

    def report(self, product: str, version: str | int) -> Path:
        """Give the HTML report of a version's training."""
        return self._run_folder(self._run_of(product, version)) / REPORT

    def pictures(self, product: str, version: str | int) -> Path:
        """Give the folder of a version's pictures."""
        return self._run_folder(self._run_of(product, version)) / "pictures"

    def _run_of(self, product: str, version: str | int) -> str:
        try:
            with _quiet():
                return str(self._client.get_model_version(model_name(product), str(version)).run_id)
        except MlflowException as error:
            present = ", ".join(self.versions(product)) or "none"
            absent = f"there is no version {version} of {product!r}; versions: {present}"
            raise RegistryError(absent) from error

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


def _artifact_hash(folder: Path) -> str:
    return hashlib.sha256((folder / INDEX).read_bytes()).hexdigest()


def model_name(product: str) -> str:
    """Give the registered name of a product."""
    return f"premia-{product}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out the one warning that mlflow's table definitions raise under SQLAlchemy 2.1."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The ``noload`` loader strategy is deprecated")
        yield
