"""The process of a step: `python -P -m flight_core.adapters.sources.step_worker`.

A step that crashes or uses too much memory only affects this process. See `row_worker`. If the request has no
step, the installed steps are listed.
"""

import base64
import importlib
import importlib.util
import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import pyarrow as pa

from flight_core.adapters.sources.row_worker import run

GROUP = "skein.steps"  # of entry points

_BATCH_ROWS = 1 << 16
_OLDEST = pl.CompatLevel.oldest()
_WIDENED = pl.ScanCastOptions(
    integer_cast="upcast",
    float_cast="upcast",
    datetime_cast="nanosecond-downcast",
    missing_struct_fields="insert",
    extra_struct_fields="ignore",
)


def installed(modules: Sequence[str]) -> Mapping[str, Callable[..., Any]]:
    """The steps by name: entry points, and the public functions of the modules, which may be paths of
    files."""
    found = {point.name: point.load() for point in entry_points(group=GROUP)}
    for name in modules:
        module = _module(name)
        found |= {name: function for name, function in vars(module).items() if _is_step(function, module)}
    return dict(sorted(found.items()))


def _module(name: str) -> ModuleType:
    if not name.endswith(".py"):
        return importlib.import_module(name)
    spec = importlib.util.spec_from_file_location(Path(name).stem, name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _is_step(thing: object, module: ModuleType) -> bool:
    return (
        inspect.isfunction(thing)
        and thing.__module__ == module.__name__
        and not thing.__name__.startswith("_")
    )


def _described(name: str, function: Callable[..., Any]) -> dict[str, object]:
    _inputs, *parameters = inspect.signature(function).parameters.values()
    return {
        "name": name,
        "description": (inspect.getdoc(function) or "").partition("\n\n")[0].replace("\n", " "),
        "parameters": [_parameter(each) for each in parameters],
        "row_wise": bool(getattr(function, "row_wise", False)),
    }


def _parameter(parameter: inspect.Parameter) -> dict[str, object]:
    nothing = inspect.Parameter.empty
    annotation, default = parameter.annotation, parameter.default
    return {
        "name": parameter.name,
        "type": "" if annotation is nothing else inspect.formatannotation(annotation).strip("'"),
        "required": default is nothing,
        "default": None if default is nothing else json.loads(json.dumps(default, default=str)),
    }


def _table(given: Mapping[str, Any]) -> pl.LazyFrame:
    schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(given["schema"])))
    empty: Any = pl.from_arrow(schema.empty_table())
    if not given["files"]:
        return pl.LazyFrame(schema=empty.schema)
    rows: pl.LazyFrame = pl.scan_parquet(
        given["files"],
        schema=empty.schema,
        cast_options=_WIDENED,
        missing_columns="insert",
        hive_partitioning=False,
        glob=False,
    )
    return rows


def _rows(request: Mapping[str, Any]) -> Iterator[pl.DataFrame]:
    """The result in pieces. The first one has no rows, only the columns."""
    step = installed(request["modules"])[request["step"]]
    inputs = {name: _table(given) for name, given in request["inputs"].items()}
    result = step(inputs, **request["params"])
    if isinstance(result, pl.DataFrame):
        result = result.lazy()
    if not isinstance(result, pl.LazyFrame):
        raise TypeError(f"a step gives a polars.LazyFrame, not {type(result).__name__}")
    yield pl.DataFrame(schema=result.collect_schema())
    yield from result.collect_batches(chunk_size=_BATCH_ROWS, maintain_order=True, engine="streaming")


def _stream(request: dict[str, Any], out: Any) -> None:
    if request["step"] is None:
        steps = [_described(*each) for each in installed(request["modules"]).items()]
        pieces = iter([pl.DataFrame({"step": [json.dumps(step) for step in steps]}, {"step": pl.String})])
    else:
        pieces = _rows(request)
    writer: Any = None
    for piece in pieces:
        table = piece.to_arrow(compat_level=_OLDEST)
        if writer is None:
            writer = pa.ipc.new_stream(pa.PythonFile(out, mode="w"), table.schema)
        writer.write_table(table)
        out.flush()
    writer.close()
    out.flush()


def _failure(error: BaseException) -> dict[str, str]:
    return {"text": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    run(_stream, _failure)
