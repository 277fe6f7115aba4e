"""What a process has loaded that `skein` is forked from. It has done nothing, so it can be forked safely."""

import gc
import pkgutil
from importlib import import_module

import skein

# What the modules of `skein` load later, when they need it. Polars is not here: it starts threads.
_LATER = (
    "alembic.command",
    "alembic.op",
    "flight_core.adapters.sources.http",
    "pyarrow.parquet",
    "rich.progress",
    "sqlalchemy.dialects.postgresql",
    "typer.rich_utils",
    "uvicorn.lifespan.on",
    "uvicorn.protocols.http.httptools_impl",
)

for module in pkgutil.walk_packages(skein.__path__, "skein."):
    import_module(module.name)
for name in _LATER:
    import_module(name)
gc.collect()
gc.freeze()  # what is here stays shared with the forks
