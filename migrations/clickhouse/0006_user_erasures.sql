-- Who was erased, and up to which id, so that a PostgreSQL that is made anew from here keeps them
-- out.
CREATE TABLE IF NOT EXISTS user_erasures (
    user_id         String,
    erased_through  UUID,
    erased_at       DateTime64(6, 'UTC'),
    requested_by    String,
    requested_at    DateTime64(6, 'UTC'),
    receipt         String,
    written_at      DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(written_at)
ORDER BY user_id
SETTINGS fsync_after_insert = 1,
         fsync_part_directory = 1,
         min_rows_to_fsync_after_merge = 1,
         min_compressed_bytes_to_fsync_after_merge = 1;
-- What a mutation has rewritten is on disk at once here, so the files before it need not wait for
-- eight minutes, and for whoever looks for them every five: what was erased in them is to go.
ALTER TABLE messages MODIFY SETTING
    old_parts_lifetime = 60, cleanup_delay_period = 15,
    max_cleanup_delay_period = 60, cleanup_delay_period_random_add = 5;
ALTER TABLE direct_writes MODIFY SETTING
    old_parts_lifetime = 60, cleanup_delay_period = 15,
    max_cleanup_delay_period = 60, cleanup_delay_period_random_add = 5
