"""Loaders of public data sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow.parquet as pq
from sklearn.datasets import fetch_openml

from data.errors import SourceError

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    import pyarrow as pa

__all__ = ["clean_french_motor", "french_motor", "read_shared"]

_FREQUENCY, _SEVERITY = 41214, 41215


def read_shared(folder: Path, name: str) -> pa.Table:
    """Read one table of a folder of parquet files.

    Parameters
    ----------
    folder : Path
        The folder.
    name : str
        File name without ``.parquet``.

    Raises
    ------
    SourceError
        If there is no such file; the message lists those that are there.
    """
    path = folder / f"{name}.parquet"
    if not path.is_file():
        there = ", ".join(sorted(p.stem for p in folder.glob("*.parquet"))) or "no parquet file"
        message = f"{folder} holds no {name}.parquet; it holds {there}"
        raise SourceError(message)
    return pq.read_table(path)


def french_motor(cache: Path) -> pd.DataFrame:
    """Load French motor third-party liability (freMTPL2) from OpenML, cleaned.

    Parameters
    ----------
    cache : Path
        Folder that keeps the download for the next time.

    Returns
    -------
    DataFrame
        See `clean_french_motor`.

    Raises
    ------
    SourceError
        If OpenML cannot be reached and the cache does not hold the sets.
    """
    try:
        frequency = fetch_openml(data_id=_FREQUENCY, as_frame=True, data_home=str(cache), parser="liac-arff")
        severity = fetch_openml(data_id=_SEVERITY, as_frame=True, data_home=str(cache), parser="liac-arff")
    except OSError as error:
        message = f"freMTPL2 (OpenML {_FREQUENCY} and {_SEVERITY}) is not in {cache} and cannot be fetched"
        raise SourceError(message) from error
    return clean_french_motor(frequency.frame, severity.frame)


def clean_french_motor(frequency: pd.DataFrame, severity: pd.DataFrame) -> pd.DataFrame:
    """Clean freMTPL2 as Wüthrich and Merz (2023), Statistical Foundations of Actuarial Learning, do.

    Claim counts are taken from the claim table, since the policy table counts claims that have no amount;
    policies with more than five claims are dropped as data errors; exposure is capped at one year.

    Parameters
    ----------
    frequency : DataFrame
        One row per policy: IDpol, ClaimNb, Exposure, Area, VehPower, VehAge, DrivAge, BonusMalus, VehBrand,
        VehGas, Density, Region.
    severity : DataFrame
        One row per claim: IDpol, ClaimAmount.

    Returns
    -------
    DataFrame
        One row per policy, ordered by IDpol, with ClaimNb (at most 5), ClaimTotal and Exposure (at most 1).
    """
    claims = severity.assign(IDpol=severity["IDpol"].astype("int64")).groupby("IDpol")["ClaimAmount"]
    totals = claims.agg(ClaimNb="size", ClaimTotal="sum").reset_index()
    policies = frequency.drop(columns="ClaimNb").assign(IDpol=frequency["IDpol"].astype("int64"))
    merged = policies.merge(totals, on="IDpol", how="left")
    merged["ClaimNb"] = merged["ClaimNb"].fillna(0).astype("int64")
    merged["ClaimTotal"] = merged["ClaimTotal"].fillna(0.0)
    merged["Exposure"] = merged["Exposure"].astype(float).clip(upper=1.0)
    for name in ("VehPower", "VehAge", "DrivAge", "BonusMalus", "Density"):
        merged[name] = merged[name].astype("int64")
    for name in ("Area", "VehBrand", "VehGas", "Region"):
        merged[name] = merged[name].astype(str).str.strip("'")
    kept = merged[merged["ClaimNb"] <= 5]
    return kept.sort_values("IDpol", ignore_index=True)
