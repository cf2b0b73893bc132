-- Reads part of a thread's index with the records behind it, in one step.
--
-- KEYS  1 the thread's index   2 its watermark   3 the user's erasure
-- ARGV  1 lowest and 2 highest lexical bound   3 'asc' or 'desc'   4 count   5 prefix of
--       message keys   6 bytes of records, after which it stops
-- Gives {floor or '', watermark or '', ids, records, stopped}: a record is '' where it has left Redis;
-- stopped is 1 where there is more of what was asked for.
local first = redis.call('ZRANGE', KEYS[1], 0, 0)[1]
local floor = first and string.sub(first, 1, 1) == '!' and string.sub(first, 2) or ''
local ids
if ARGV[3] == 'asc' then
  ids = redis.call('ZRANGEBYLEX', KEYS[1], ARGV[1], ARGV[2], 'LIMIT', 0, ARGV[4])
else
  ids = redis.call('ZREVRANGEBYLEX', KEYS[1], ARGV[2], ARGV[1], 'LIMIT', 0, ARGV[4])
end
local names, records, left, stopped = {}, {}, tonumber(ARGV[6]), 0
for i, id in ipairs(ids) do
  if left <= 0 then
    stopped = 1
    break
  end
  names[i], records[i] = id, redis.call('GET', ARGV[5] .. id) or ''
  left = left - #records[i]
end
local watermark, erased = redis.call('GET', KEYS[2]) or '', redis.call('GET', KEYS[3]) or ''
return {floor, watermark > erased and watermark or erased, names, records, stopped}
