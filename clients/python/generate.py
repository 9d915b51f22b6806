"""Write `premia_client/models.py` from the OpenAPI document: `premia openapi | python generate.py`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

MODELS = Path(__file__).parent / "premia_client" / "models.py"
HEAD = '''"""Models of the Premia quote service, written by generate.py from its OpenAPI document."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - pydantic reads it at run time
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Model(BaseModel):
    """Base of the models; fields that a newer service adds are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)
'''
PLAIN = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}


def annotation(schema: dict[str, Any]) -> str:
    """Give the Python type of a schema."""
    if "$ref" in schema:
        return str(schema["$ref"].rsplit("/", 1)[-1])
    if "const" in schema:
        return f"Literal[{schema['const']!r}]"
    if "enum" in schema:
        return f"Literal[{', '.join(map(repr, schema['enum']))}]"
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(annotation(one) for one in schema["anyOf"]))
    kind = schema.get("type")
    if kind == "array":
        return f"list[{annotation(schema.get('items', {}))}]"
    if kind == "object":
        more = schema.get("additionalProperties")
        return f"dict[str, {annotation(more) if isinstance(more, dict) else 'Any'}]"
    if schema.get("format") == "date-time":
        return "datetime"
    return PLAIN.get(str(kind), "Any")


def field(name: str, schema: dict[str, Any], *, required: bool) -> str:
    """Give one field of a model."""
    kind = annotation(schema)
    if required:
        return f"    {name}: {kind}"
    default = schema.get("default")
    if default is None:
        empty = {"array": "list", "object": "dict"}.get(str(schema.get("type")))
        if empty:
            return f"    {name}: {kind} = Field(default_factory={empty})"
        kind = kind if "None" in kind.split(" | ") or kind == "Any" else f"{kind} | None"
    if isinstance(default, list | dict):
        return f"    {name}: {kind} = Field(default_factory={type(default).__name__})"
    return f"    {name}: {kind} = {default!r}"


def model(name: str, schema: dict[str, Any]) -> str:
    """Give one model."""
    needed = set(schema.get("required", ()))
    lines = [f"class {name}(Model):", f'    """{schema.get("description", name).splitlines()[0]}"""', ""]
    fields = schema.get("properties", {})
    lines += [field(key, value, required=key in needed) for key, value in fields.items()]
    return "\n".join(lines)


def generate(document: dict[str, Any]) -> str:
    """Give the module of all models of a document."""
    schemas = document["components"]["schemas"]
    parts = [model(name, schemas[name]) for name in sorted(schemas) if schemas[name].get("type") == "object"]
    return HEAD + "\n\n" + "\n\n\n".join(parts) + "\n"


if __name__ == "__main__":
    MODELS.write_text(generate(json.load(sys.stdin)), encoding="utf-8")
