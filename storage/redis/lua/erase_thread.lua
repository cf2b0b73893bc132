-- Takes what a thread has at or below a watermark out of the hot page, or only counts it.
--
-- KEYS  1 the thread's index   2 its record   3 its watermark
-- ARGV  1 the erasure's watermark   2 its time   3 '1' to take out
-- Gives {ids in the index, 1 for the record, 1 for the thread's own watermark}.
-- What is left of the index is complete above the erasure's watermark, as it was above its floor.
local listed = redis.call('ZLEXCOUNT', KEYS[1], '[0', '[' .. ARGV[1])
local record = redis.call('GET', KEYS[2])
local mark = redis.call('GET', KEYS[3])
local own = record and cjson.decode(record).created_at <= ARGV[2]
local old = mark and mark <= ARGV[1]
local first = redis.call('ZRANGE', KEYS[1], 0, 1)
local floor = first[1] and string.sub(first[1], 1, 1) == '!' and string.sub(first[1], 2)
if ARGV[3] == '1' then
  redis.call('ZREMRANGEBYLEX', KEYS[1], '[0', '[' .. ARGV[1])
  if floor and floor < ARGV[1] then
    redis.call('ZREMRANGEBYLEX', KEYS[1], '-', '(0')
    redis.call('ZADD', KEYS[1], 0, '!' .. ARGV[1])
    floor = ARGV[1]
  end
  if redis.call('ZCARD', KEYS[1]) == (floor and 1 or 0) then
    -- A floor above every id keeps readers from warming what they read before; it goes soon.
    if floor and string.sub(floor, 1, 1) == '~' then
      redis.call('EXPIRE', KEYS[1], 60)
    else
      redis.call('DEL', KEYS[1])
    end
  end
  if own then redis.call('DEL', KEYS[2]) end
  if old then redis.call('DEL', KEYS[3]) end
end
return {listed, own and 1 or 0, old and 1 or 0}
