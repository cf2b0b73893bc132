"""Looks for a text in everything that a stack's servers hold, by asking them what there is."""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from wiring.process import Services

_TEXT_COLUMNS = """
SELECT c.relname, quote_ident(a.attname) FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'm')
  AND a.attnum > 0 AND NOT a.attisdropped
"""
_COLUMNS = (
    "SELECT table, name FROM system.columns WHERE database = currentDatabase()"
    " AND table IN (SELECT name FROM system.tables"
    "   WHERE database = currentDatabase() AND endsWith(engine, 'MergeTree')) ORDER BY table"
)


def places(services: Services, *texts: str) -> set[str]:
    """Where any of these texts is, as `tier: place`."""
    found: set[str] = set()
    for text in texts:
        found |= {f"redis: {name}" for name in in_redis(services, text)}
        found |= {f"postgresql: {name}" for name in in_postgres(services, text)}
        found |= {f"clickhouse: {name}" for name in in_clickhouse(services, text)}
    return found


def in_redis(services: Services, text: str) -> Iterator[str]:
    client: Any = services.tiers.redis_client
    for name in client.scan_iter(count=1000):
        # DUMP compresses long strings, so each kind is read as what it is.
        kind = client.type(name)
        reads = {
            b"string": lambda name=name: client.get(name),
            b"stream": lambda name=name: client.xrange(name),
            b"zset": lambda name=name: client.zrange(name, 0, -1),
            b"set": lambda name=name: client.smembers(name),
            b"hash": lambda name=name: client.hgetall(name),
            b"list": lambda name=name: client.lrange(name, 0, -1),
        }
        value = reads[kind]() if kind in reads else b""
        if any(text.encode() in part for part in (name, *_flat(value))):
            yield name.decode()


def _flat(value: Any) -> Iterator[bytes]:
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list | tuple | set):
        for part in value:
            yield from _flat(part)
    elif isinstance(value, bytes):
        yield value


def in_postgres(services: Services, text: str) -> Iterator[str]:
    with services.tiers.job_engine.connect() as connection:
        columns = connection.exec_driver_sql(_TEXT_COLUMNS).all()
        for table, column in columns:
            # A bytea as text is hexadecimal.
            statement = (
                f"SELECT EXISTS (SELECT FROM {table} WHERE position(%(text)s IN {column}::text) > 0"
                f" OR position(%(hex)s IN {column}::text) > 0)"
            )
            values = {"text": text, "hex": text.encode().hex()}
            if connection.exec_driver_sql(statement, values).scalar_one():
                yield f"{table}.{column}"


def in_clickhouse(services: Services, text: str) -> Iterator[str]:
    needle = f"unhex('{text.encode().hex()}')"
    with services.tiers.job_clickhouse.engine.connect() as connection:
        rows = connection.exec_driver_sql(_COLUMNS).all()
        for table, named in groupby(rows, key=lambda row: row[0]):
            columns = [name for _, name in named]
            counts = ", ".join(
                f"countIf(position(toString({column}), {needle}) > 0)" for column in columns
            )
            query = f"SELECT {counts} FROM {table} SETTINGS final = 0, apply_deleted_mask = 0"
            found = connection.exec_driver_sql(query).one()
            for column, count in zip(columns, found, strict=True):
                if int(count):
                    yield f"{table}.{column}"


def append_only_files(services: Services) -> bytes:
    """All that the data Redis has on disk."""
    folder = Path(services.tiers.redis_client.config_get("dir")["dir"])
    return b"".join(file.read_bytes() for file in sorted(folder.rglob("*.aof*")) if file.is_file())
