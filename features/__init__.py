"""Feature definitions, their compiler to SQL, the per-customer evaluator, and risk profiles."""

from features.compile import CompiledProfiles, compile_profiles
from features.errors import (
    DefinitionError,
    EngineError,
    FeatureError,
    HistoryError,
    LabelError,
    TableError,
    UnknownEntity,
    UnknownFeature,
)
from features.evaluate import EntityEvaluator, Evaluator
from features.history import (
    EventNeed,
    as_columns,
    event_columns,
    events_by_entity,
    events_needed,
    events_query,
)
from features.load import default_spec, load_spec, parse_spec
from features.profiles import build_profiles, check_tables, write_profiles
from features.spec import Derived, Entity, Feature, FeatureSpec, Source

__all__ = [
    "CompiledProfiles",
    "DefinitionError",
    "Derived",
    "EngineError",
    "Entity",
    "EntityEvaluator",
    "Evaluator",
    "EventNeed",
    "Feature",
    "FeatureError",
    "FeatureSpec",
    "HistoryError",
    "LabelError",
    "Source",
    "TableError",
    "UnknownEntity",
    "UnknownFeature",
    "as_columns",
    "build_profiles",
    "check_tables",
    "compile_profiles",
    "default_spec",
    "event_columns",
    "events_by_entity",
    "events_needed",
    "events_query",
    "load_spec",
    "parse_spec",
    "write_profiles",
]
