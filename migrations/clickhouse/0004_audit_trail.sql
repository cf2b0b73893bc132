-- PostgreSQL's audit trail, so that it outlives PostgreSQL.
CREATE TABLE IF NOT EXISTS audit_trail (
    id       UUID,
    at       DateTime64(6, 'UTC'),
    actor    String,
    action   String,
    subject  String,
    counts   String,
    details  String
)
ENGINE = ReplacingMergeTree
ORDER BY (at, id)
SETTINGS non_replicated_deduplication_window = 1000,
         fsync_after_insert = 1,
         fsync_part_directory = 1,
         min_rows_to_fsync_after_merge = 1,
         min_compressed_bytes_to_fsync_after_merge = 1
