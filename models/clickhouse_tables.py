"""The tables of ClickHouse, for queries. `migrations/clickhouse` makes them."""

from clickhouse_sqlalchemy import types
from sqlalchemy import Column, MetaData, Table

metadata = MetaData()

messages = Table(
    "messages",
    metadata,
    Column("id", types.UUID, primary_key=True),
    Column("user_id", types.String),
    Column("thread_id", types.String),
    Column("role", types.LowCardinality(types.String)),
    Column("content", types.String),
    Column("metadata", types.String),
    Column("created_at", types.DateTime64(6, "UTC")),
    Column("updated_at", types.DateTime64(6, "UTC")),
    Column("version", types.UInt64),
    Column("deleted_at", types.Nullable(types.DateTime64(6, "UTC"))),
    Column("content_hash", types.String),
    Column("is_deleted", types.UInt8),
    Column("archived_at", types.DateTime64(6, "UTC")),
    Column("words", types.Array(types.String)),
)

direct_writes = Table(
    "direct_writes",
    metadata,
    Column("id", types.UUID, primary_key=True),
    Column("version", types.UInt64),
    Column("user_id", types.String),
    Column("thread_id", types.String),
    Column("idempotency_key", types.String),
    Column("record", types.String),
    Column("written_at", types.DateTime64(6, "UTC")),
)

told_keys = Table(
    "told_keys",
    metadata,
    Column("user_id", types.String),
    Column("thread_id", types.String),
    Column("idempotency_key", types.String),
    Column("id", types.UUID, primary_key=True),
    Column("told_at", types.DateTime("UTC")),
    Column("content_hash", types.String),
)
