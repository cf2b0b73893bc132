-- Messages that were taken here because neither Redis nor PostgreSQL could, until PostgreSQL has
-- them too. The row is written before the message, so none is here without being on this list.
CREATE TABLE IF NOT EXISTS direct_writes (
    id               UUID,
    version          UInt64,
    user_id          String,
    thread_id        String,
    idempotency_key  String,
    record           String,
    written_at       DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
)
ENGINE = MergeTree
ORDER BY (user_id, thread_id, id, version)
SETTINGS fsync_after_insert = 1,
         fsync_part_directory = 1,
         min_rows_to_fsync_after_merge = 1,
         min_compressed_bytes_to_fsync_after_merge = 1
