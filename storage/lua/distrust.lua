-- Says of indexes that they are complete nowhere, because messages came in beside Redis.
--
-- KEYS  the indexes, all of one shard
-- ARGV  1 a floor above every id   2 seconds that a missing index is distrusted
-- A missing index is made, and goes soon: a reader that saw none may be about to warm it with a
-- page that it read before the messages came.
for _, index in ipairs(KEYS) do
  local known = redis.call('EXISTS', index) == 1
  redis.call('ZREMRANGEBYLEX', index, '-', '(0')
  redis.call('ZADD', index, 0, '!' .. ARGV[1])
  if not known then redis.call('EXPIRE', index, ARGV[2]) end
end
