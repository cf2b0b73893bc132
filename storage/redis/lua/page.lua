-- Reads part of a thread's index, and what hides messages of it, in one step.
--
-- KEYS  1 the thread's index   2 its watermark   3 the user's erasure
-- ARGV  1 lowest and 2 highest lexical bound   3 'asc' or 'desc'   4 count
-- Gives {floor or '', watermark or '', ids}. Their records are read by a plain command, which takes a
-- third of the time that they take through a script.
local first = redis.call('ZRANGE', KEYS[1], 0, 0)[1]
local floor = first and string.sub(first, 1, 1) == '!' and string.sub(first, 2) or ''
local ids
if ARGV[3] == 'asc' then
  ids = redis.call('ZRANGEBYLEX', KEYS[1], ARGV[1], ARGV[2], 'LIMIT', 0, ARGV[4])
else
  ids = redis.call('ZREVRANGEBYLEX', KEYS[1], ARGV[2], ARGV[1], 'LIMIT', 0, ARGV[4])
end
local watermark, erased = redis.call('GET', KEYS[2]) or '', redis.call('GET', KEYS[3]) or ''
return {floor, watermark > erased and watermark or erased, ids}
