-- Every version of every message, the newest of which counts; merges remove the others.
-- An insert is on disk before it is answered, and a merge keeps it so: rows leave PostgreSQL
-- on the word of this table.
CREATE TABLE IF NOT EXISTS messages (
    id            UUID,
    user_id       String,
    thread_id     String,
    role          LowCardinality(String),
    content       String CODEC(ZSTD(3)),
    metadata      String CODEC(ZSTD(3)),
    created_at    DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    updated_at    DateTime64(6, 'UTC') CODEC(ZSTD(1)),
    version       UInt64 CODEC(T64, ZSTD(1)),
    deleted_at    Nullable(DateTime64(6, 'UTC')),
    content_hash  String CODEC(ZSTD(1)),
    is_deleted    UInt8 DEFAULT deleted_at IS NOT NULL,
    archived_at   DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC'),
    INDEX by_id id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(version, is_deleted)
PARTITION BY toYYYYMM(created_at)
ORDER BY (user_id, thread_id, created_at, id)
SETTINGS non_replicated_deduplication_window = 1000,
         fsync_after_insert = 1,
         fsync_part_directory = 1,
         min_rows_to_fsync_after_merge = 1,
         min_compressed_bytes_to_fsync_after_merge = 1
