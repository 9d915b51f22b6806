"""Judge registered versions on the test rows of a table, together with the one in service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.encoding import Encoding
from models.errors import RegistryError
from models.judged import IN_SERVICE, judge
from models.sample import Sample

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from models.bundle import Bundle
    from models.judged import Judged
    from models.own_history import OwnHistories
    from pricing.product import Product


def judge_bundles(
    product: Product,
    bundles: Mapping[str, Bundle],
    table: pa.Table,
    *,
    in_service: Bundle | None = None,
    seed: int = 1,
    own: OwnHistories | None = None,
) -> tuple[Judged, dict[str, float | int | str], dict[str, str]]:
    """Judge stored models on the test rows of a table, split as the product file says.

    Only rows that none of them learned from can judge them fairly: give the table they were trained on, or a
    later one split by time.

    Parameters
    ----------
    product
        Product file: response, split, thresholds.
    bundles
        Name -> stored model.
    table
        As for `train`.
    in_service
        Model that prices today.
    seed
        Of the bootstraps.
    own
        See `train`.

    Returns
    -------
    tuple
        What was judged; rows, claims and exposure; and why a model was left out, by name.

    Raises
    ------
    TrainingDataError
        If the table cannot be used, with row counts.
    RegistryError
        If no model can be judged.
    """
    encoding = Encoding.of(product)
    left_out = {
        name: "it was trained for other factors or another response than the product file has now"
        for name, bundle in bundles.items()
        if bundle.encoding != encoding or bundle.product.response != product.response
    }
    models = {name: bundle.model for name, bundle in bundles.items() if name not in left_out}
    if not models:
        raise RegistryError(
            f"no version of {product.code!r} can be judged: {left_out or 'none is registered'}"
        )
    sample = Sample.of(product, table)
    sample.check_enough("test")
    named = bundles if in_service is None else {**bundles, IN_SERVICE: in_service}
    known = None if own is None else own.of(named, sample.tested)
    judged = judge(sample, models, in_service=in_service, seed=seed, own=known)
    return judged, sample.facts() | {"seed": seed}, left_out
