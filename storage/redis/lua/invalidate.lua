-- Says of indexes that they are complete nowhere, because messages came in beside Redis.
--
-- KEYS  the indexes, all of one shard
-- ARGV  1 a floor above every id   2 seconds that a missing index is distrusted
-- A missing index is made, and goes soon: a reader that saw none may be about to warm it with a
-- page that it read before the messages came.
for _, index in ipairs(KEYS) do
  local left = redis.call('PTTL', index)
  -- An index of nothing but a floor goes with it, and its time to live as well.
  redis.call('ZREMRANGEBYLEX', index, '-', '(0')
  redis.call('ZADD', index, 0, '!' .. ARGV[1])
  if left == -2 then redis.call('EXPIRE', index, ARGV[2]) end
  if left >= 0 then redis.call('PEXPIRE', index, math.max(left, 1000 * ARGV[2])) end
end
