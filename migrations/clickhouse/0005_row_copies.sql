-- The rows of PostgreSQL's small tables as JSON, so that they outlive PostgreSQL: the highest
-- sequence of a key counts.
CREATE TABLE IF NOT EXISTS row_copies (
    table_name  LowCardinality(String),
    key         String,
    row         String CODEC(ZSTD(3)),
    sequence    UInt64,
    is_deleted  UInt8,
    copied_at   DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(sequence)
ORDER BY (table_name, key)
SETTINGS non_replicated_deduplication_window = 1000,
         fsync_after_insert = 1,
         fsync_part_directory = 1,
         min_rows_to_fsync_after_merge = 1,
         min_compressed_bytes_to_fsync_after_merge = 1;
-- What every process must know whichever tier is out.
CREATE TABLE IF NOT EXISTS notices (
    name   String,
    at_us  UInt64,
    body   String
)
ENGINE = ReplacingMergeTree(at_us)
ORDER BY name
