-- Says of an index that it is complete nowhere, because messages came in beside Redis.
--
-- KEYS  the indexes, all of one shard
-- ARGV  1 the highest id
for _, index in ipairs(KEYS) do
  if redis.call('EXISTS', index) == 1 then
    redis.call('ZREMRANGEBYLEX', index, '-', '(0')
    redis.call('ZADD', index, 0, '!' .. ARGV[1])
  end
end
