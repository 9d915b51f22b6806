import importlib
import pkgutil

import data
from data import errors

PUBLIC = """
CONTRACTS Check Column ColumnMap ColumnMapError Contract ContractBreachError ContractError DEFAULT_THRESHOLDS
DataError ErasureReport GateResult IngestError IngestReport Manifest ManifestError Partition QualityError
Reference RunRecord SimulationError SourceError SplitError Statistics StoreError TableFile TableLockedError
TableMissingError TableQuality TableWrite Thresholds UnknownTableError append_table assess_table buffer_before
check_lake fold_by_group fold_randomly walk_forward
connect contract contracts_markdown erase_customer judge_latest judge_run load_column_map load_thresholds
overall read_manifest read_runs read_table require_sound scan_batches split_by_column split_by_group
split_by_time split_randomly table_files write_parquet_atomic write_quality_report write_table
"""


def test_the_public_names_are_these():
    assert sorted(data.__all__) == sorted(PUBLIC.split())
    assert all(hasattr(data, name) for name in data.__all__)


def test_no_public_name_hides_a_module():
    modules = {module.name for module in pkgutil.iter_modules(data.__path__)}
    assert {"ingest", "simulate"} <= modules
    assert modules.isdisjoint(data.__all__)
    for name in modules:
        assert importlib.import_module(f"data.{name}") is getattr(data, name)


def test_every_error_is_public_and_drawn_in_the_tree():
    tree = errors.__doc__
    assert tree is not None
    for name in errors.__all__:
        assert name in data.__all__
        assert name in tree


def test_each_module_exports_what_it_says():
    for module in pkgutil.iter_modules(data.__path__):
        found = importlib.import_module(f"data.{module.name}")
        assert all(hasattr(found, name) for name in found.__all__), module.name
