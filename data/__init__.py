"""The tables of the lake: contracts, ingest with quarantine and quality gates, the simulator, splits.

Functions that carry the name of their module are reached through it: `data.ingest.ingest`,
`data.simulate.simulate`.
"""

from data.checks import check_lake, require_sound
from data.column_map import ColumnMap, load_column_map
from data.contracts import CONTRACTS, contract, contracts_markdown
from data.erase import ErasureReport, erase_customer
from data.errors import (
    ColumnMapError,
    ContractBreachError,
    ContractError,
    DataError,
    IngestError,
    ManifestError,
    QualityError,
    SimulationError,
    SourceError,
    SplitError,
    StoreError,
    TableLockedError,
    TableMissingError,
    UnknownTableError,
)
from data.ingest import IngestReport
from data.manifest import Manifest, TableFile, read_manifest
from data.quality import DEFAULT_THRESHOLDS, GateResult, Thresholds, judge_latest, judge_run, overall
from data.quality_report import TableQuality, assess_table, write_quality_report
from data.runs import RunRecord, read_runs
from data.schema import Check, Column, Contract, Partition, Reference
from data.splits import (
    buffer_before,
    fold_by_group,
    fold_randomly,
    split_by_column,
    split_by_group,
    split_by_time,
    split_randomly,
    walk_forward,
)
from data.statistics import Statistics
from data.store import (
    TableWrite,
    append_table,
    connect,
    read_table,
    scan_batches,
    table_files,
    write_parquet_atomic,
    write_table,
)
from data.thresholds import load_thresholds

__all__ = [
    "CONTRACTS",
    "DEFAULT_THRESHOLDS",
    "Check",
    "Column",
    "ColumnMap",
    "ColumnMapError",
    "Contract",
    "ContractBreachError",
    "ContractError",
    "DataError",
    "ErasureReport",
    "GateResult",
    "IngestError",
    "IngestReport",
    "Manifest",
    "ManifestError",
    "Partition",
    "QualityError",
    "Reference",
    "RunRecord",
    "SimulationError",
    "SourceError",
    "SplitError",
    "Statistics",
    "StoreError",
    "TableFile",
    "TableLockedError",
    "TableMissingError",
    "TableQuality",
    "TableWrite",
    "Thresholds",
    "UnknownTableError",
    "append_table",
    "assess_table",
    "buffer_before",
    "check_lake",
    "connect",
    "contract",
    "contracts_markdown",
    "erase_customer",
    "fold_by_group",
    "fold_randomly",
    "judge_latest",
    "judge_run",
    "load_column_map",
    "load_thresholds",
    "overall",
    "read_manifest",
    "read_runs",
    "read_table",
    "require_sound",
    "scan_batches",
    "split_by_column",
    "split_by_group",
    "split_by_time",
    "split_randomly",
    "table_files",
    "walk_forward",
    "write_parquet_atomic",
    "write_quality_report",
    "write_table",
]
