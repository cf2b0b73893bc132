-- The hash chain of each thread: a link for every version of a message that was committed. Where what
-- was written is gone, the link keeps only the hash of its entry, which without the salt tells
-- nothing of it. Of several links at one position, as after a crash, the last one counts.
CREATE TABLE IF NOT EXISTS thread_links (
    user_id       String,
    thread_id     String,
    position      UInt64 CODEC(Delta, ZSTD(1)),
    message_id    UUID,
    version       UInt64 CODEC(T64, ZSTD(1)),
    content_hash  String CODEC(ZSTD(1)),
    salt          String CODEC(ZSTD(1)),
    entry         String CODEC(ZSTD(1)),
    link          String CODEC(ZSTD(1)),
    linked_at     DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    INDEX by_message message_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(linked_at)
ORDER BY (user_id, thread_id, position)
SETTINGS non_replicated_deduplication_window = 1000,
         fsync_after_insert = 1,
         fsync_part_directory = 1,
         min_rows_to_fsync_after_merge = 1,
         min_compressed_bytes_to_fsync_after_merge = 1
