-- Processes that write here what neither Redis nor PostgreSQL can take, for as long as a row says
-- after it came. While there is one nobody believes that PostgreSQL holds everything.
CREATE TABLE IF NOT EXISTS direct_writers (
    holder   UUID,
    seconds  UInt16,
    said_at  DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = MergeTree
ORDER BY said_at
TTL toDateTime(said_at) + INTERVAL 1 HOUR
