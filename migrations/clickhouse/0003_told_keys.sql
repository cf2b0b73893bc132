-- Idempotency-Keys of messages that another tier took, told by the process that acknowledged them
-- when it saw Redis out: should PostgreSQL be out as well, nobody else could say what a key has made.
-- A row is worth nothing once the tiers it stands for are back, so it need not survive a power cut,
-- which none of them would outlast; and PostgreSQL has every key for itself long before two days.
CREATE TABLE IF NOT EXISTS told_keys (
    user_id          String,
    thread_id        String,
    idempotency_key  String,
    id               UUID,
    told_at          DateTime('UTC') DEFAULT now('UTC')
)
ENGINE = MergeTree
ORDER BY (user_id, idempotency_key, thread_id)
TTL told_at + INTERVAL 2 DAY
