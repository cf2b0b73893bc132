"""The tables of PostgreSQL, for queries. `migrations/postgres` makes them."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Computed,
    DateTime,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSON

metadata = MetaData()

messages = Table(
    "messages",
    metadata,
    Column("id", Uuid(as_uuid=False), primary_key=True),
    Column("user_id", Text, nullable=False),
    Column("thread_id", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("content", Text, nullable=False),
    # JSON, not JSONB: the text must come back as it went in, or its hash would not match.
    Column("metadata", JSON, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("deleted_at", DateTime(timezone=True)),
    Column("content_hash", Text, nullable=False),
    Column("persisted_at", DateTime(timezone=True), nullable=False),
    comment="Every message that is not yet archived; a range of ids, a week long, a partition.",
)

threads = Table(
    "threads",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("title", Text),
    Column("metadata", JSON, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("deleted_at", DateTime(timezone=True)),
    Column("deleted_through", Uuid(as_uuid=False)),
    Column("erased_through", Uuid(as_uuid=False)),
    Column("purged_through", Uuid(as_uuid=False)),
    Column("last_message_at", DateTime(timezone=True)),
    Column("message_count", BigInteger, nullable=False),
    Column("is_pinned", Boolean, nullable=False),
    Column("is_archived", Boolean, nullable=False),
)

clickhouse_outbox = Table(
    "clickhouse_outbox",
    metadata,
    Column("sequence", BigInteger, primary_key=True),
    Column("message_id", Uuid(as_uuid=False), nullable=False),
    Column("queued_at", DateTime(timezone=True), nullable=False),
    comment="Committed messages that ClickHouse has not confirmed yet.",
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("shard", Integer, nullable=False),
    Column("entry_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("record", LargeBinary, nullable=False),
    Column("reason", Text, nullable=False),
    Column("refused_at", DateTime(timezone=True), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("attempted_at", DateTime(timezone=True)),
    Column("user_id", Text, Computed("user_of_record(record)", persisted=True)),
    comment="Log entries that PostgreSQL refused, whole, with its reason.",
)

user_erasures = Table(
    "user_erasures",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("erased_through", Uuid(as_uuid=False), nullable=False),
    Column("erased_at", DateTime(timezone=True), nullable=False),
    Column("requested_by", Text, nullable=False),
    Column("requested_at", DateTime(timezone=True), nullable=False),
    Column("finished_at", DateTime(timezone=True)),
    Column("looked_at", DateTime(timezone=True)),
    Column("claimed_until", DateTime(timezone=True), nullable=False),
    Column("receipt", JSON, nullable=False),
    comment="Users of whom nothing at or below an id is taken in again.",
)

archive_boundary = Table(
    "archive_boundary",
    metadata,
    Column("singleton", Integer, primary_key=True),
    Column("below", Uuid(as_uuid=False), nullable=False),
    comment="One row: messages below this id may be in ClickHouse alone.",
)
