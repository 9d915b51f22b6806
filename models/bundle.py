"""The unit that is stored, promoted and served: product, identity of its features, encoding and model."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pydantic import ValidationError

from models.encoding import Encoding
from models.errors import ArtifactError, MismatchError
from models.experience import ExperienceFit
from models.families import library_versions, load_scorer
from models.fitted import inputs_hash
from models.risk_model import COMPONENTS, Reason, RiskModel, Scored
from pricing.product import Product

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from features.spec import FeatureSpec

__all__ = ["Bundle", "Reason", "Scored"]

FORMAT = "premia-bundle-1"
INDEX = "bundle.json"
PREMIUM = "risk_premium_minor"


@dataclass(frozen=True, eq=False)
class Bundle:
    """A model that can price a product, complete and unchangeable.

    Attributes
    ----------
    product
        Product as trained.
    spec_hash
        Identity of the definitions of its profile features; empty when trained without.
    encoding
        From risks to model inputs.
    model
        From model inputs to the risk premium.
    versions
        Libraries it was trained with.
    summary
        Rows, claims, figures on test rows, settings.
    attachments
        Texts that belong to the model, by file name: for a tariff where each cell comes from.
    experience
        What training found for the experience rating; None where the product names none.
    """

    product: Product
    spec_hash: str
    encoding: Encoding
    model: RiskModel
    versions: dict[str, str]
    summary: dict[str, float | int | str]
    attachments: Mapping[str, str] = field(default_factory=dict)
    experience: ExperienceFit | None = None

    @classmethod
    def of(
        cls,
        product: Product,
        model: RiskModel,
        encoding: Encoding,
        spec_hash: str,
        summary: Mapping[str, float | int | str],
        attachments: Mapping[str, str] | None = None,
        experience: ExperienceFit | None = None,
    ) -> Bundle:
        """Put a freshly trained model together with the versions of the libraries at work."""
        return cls(
            product,
            spec_hash,
            encoding,
            model,
            library_versions(),
            dict(summary),
            attachments or {},
            experience,
        )

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Profile features and fitted features the model reads."""
        return self.encoding.features

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Score a batch of risks; the one function of notebook, batch job and cluster.

        Parameters
        ----------
        batch
            One column per rating factor and per profile feature.

        Returns
        -------
        pyarrow.RecordBatch
            The batch with ``risk_premium_minor`` (float64, expected cost of the full cover) and one column
            per component; null where a factor refuses the row (see `Encoding.problems`).

        Raises
        ------
        EncodingError
            If columns are absent.
        """
        encoded = self.encoding.encode(batch)
        predicted = self.model.predict(encoded.matrix)
        columns = {PREMIUM: self.model.combine(predicted), **predicted}
        for name, column in columns.items():
            batch = batch.append_column(name, pa.array(column, pa.float64(), mask=encoded.refused))
        return batch

    def score_one(
        self,
        risk: Mapping[str, object],
        profile: Mapping[str, float | int | None],
        *,
        explained: bool = True,
    ) -> Scored:
        """Score one risk, bit-equal to `score`.

        Parameters
        ----------
        risk
            By factor name, as given or as rated.
        profile
            Profile features by name.
        explained
            Whether to give the reasons.

        Raises
        ------
        pricing.errors.RiskError
            If a factor refuses its value.
        EncodingError
            If a profile feature is absent.
        """
        return self.model.score_one(self.encoding.encode_one(risk, profile), explained=explained)

    def save(self, folder: Path) -> Path:
        """Write the bundle as native text, JSON and Arrow with a checksum per file.

        The folder appears at once and complete, or not at all.

        Parameters
        ----------
        folder
            Must not exist yet.

        Raises
        ------
        ArtifactError
            If the folder exists.
        """
        if folder.exists():
            raise ArtifactError(f"{folder} exists; a bundle is never written over")
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            self._write(staging)
            staging.chmod(0o755)
            staging.rename(folder)
        finally:  # nothing is left to remove once it has its name
            shutil.rmtree(staging, ignore_errors=True)
        return folder

    def _write(self, folder: Path) -> None:
        (folder / "product.json").write_text(self.product.model_dump_json(indent=1) + "\n", encoding="utf-8")
        (folder / "encoding.json").write_text(
            json.dumps(self.encoding.to_json(), indent=1) + "\n", encoding="utf-8"
        )
        files = [folder / "product.json", folder / "encoding.json"]
        for name, scorer in self.model.components.items():
            files += scorer.save(folder, name)
        for attached, text in self.attachments.items():
            (folder / attached).write_text(text, encoding="utf-8")
            files.append(folder / attached)
        index = {
            "format": FORMAT,
            "product": self.product.code,
            "product_hash": self.product.hash,
            "feature_names": list(self.feature_names),
            "spec_hash": self.spec_hash,
            "kind": self.model.kind,
            "family": self.model.family,
            "benefit_minor": self.model.benefit_minor,
            "load_minor": self.model.load_minor,
            "versions": self.versions,
            "summary": self.summary,
            "attachments": sorted(self.attachments),
            "experience": None if self.experience is None else self.experience.to_json(),
            "files": {path.name: _checksum(path) for path in sorted(files)},
        }
        (folder / INDEX).write_text(json.dumps(index, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        for path in folder.iterdir():
            with path.open("rb") as handle:
                os.fsync(handle.fileno())

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        expected_product: Product | None = None,
        expected_spec: FeatureSpec | None = None,
    ) -> Bundle:
        """Read a bundle and refuse it unless everything matches.

        Parameters
        ----------
        folder
            As written by `save`.
        expected_product
            Product file in service; its hash must be the stored one.
        expected_spec
            Feature definitions in service; the hash of the features used must be the stored one.

        Raises
        ------
        ArtifactError
            If a file is absent, added or damaged, or the format is unknown.
        MismatchError
            If it was made for another product or other feature definitions.
        """
        index = _read_index(folder)
        try:
            product = Product.model_validate_json((folder / "product.json").read_text(encoding="utf-8"))
            encoding = Encoding.from_json(json.loads((folder / "encoding.json").read_text(encoding="utf-8")))
            kind = index["kind"]
            components = {name: load_scorer(folder, name) for name in COMPONENTS[kind]}
            model = RiskModel(
                kind,
                index["family"],
                encoding.inputs,
                components,
                index["benefit_minor"],
                index["load_minor"],
            )
            attached = [name for name in index["files"] if name in index.get("attachments", ())]
            attachments = {name: (folder / name).read_text(encoding="utf-8") for name in attached}
            bundle = cls(
                product,
                index["spec_hash"],
                encoding,
                model,
                index["versions"],
                index["summary"],
                attachments,
                ExperienceFit.from_json(index.get("experience")),
            )
            stored = str(index["product_hash"])
        except (KeyError, TypeError, json.JSONDecodeError, ValidationError) as error:
            raise ArtifactError(f"{folder.name}: content does not fit {FORMAT}: {error}") from error
        if product.experience is not None and bundle.experience is None:
            raise ArtifactError(
                f"{folder.name}: the product names [experience], which was not fitted. Hint: premia train"
            )
        _match("products", product.hash, stored)
        _match("encodings", repr(encoding), repr(Encoding.of(product)))
        if expected_product is not None:
            _match("products", stored, expected_product.hash)
        if expected_spec is not None and encoding.features:
            _match("feature definitions", bundle.spec_hash, inputs_hash(expected_spec, product.profile))
        return bundle


def _match(what: str, found: str, expected: str) -> None:
    if found != expected:
        raise MismatchError(what, found, expected)


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _read_index(folder: Path) -> dict[str, Any]:
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{folder.name}/{INDEX} cannot be read: {error}") from error
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        raise ArtifactError(f"{folder.name}/{INDEX}: format is not {FORMAT}")
    declared = dict(index.get("files", {}))
    present = {path.name for path in folder.iterdir() if path.is_file()} - {INDEX}
    faults = [f"{name} is not declared" for name in sorted(present - set(declared))]
    faults += _damaged(folder, declared.items())
    if faults:
        raise ArtifactError(f"{folder.name}: " + "; ".join(faults))
    return index


def _damaged(folder: Path, declared: Iterable[tuple[str, str]]) -> list[str]:
    faults = []
    for name, checksum in sorted(declared):
        path = folder / name
        if Path(name).name != name or not path.is_file():
            faults.append(f"{name} is absent")
        elif _checksum(path) != checksum:
            faults.append(f"{name} does not match its checksum")
    return faults
