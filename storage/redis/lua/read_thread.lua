-- Reads what Redis has of one thread, in one step.
--
-- KEYS  1 the thread's index   2 its record   3 its watermark   4 the user's erasure
-- ARGV  1 prefix of message keys   2 the archive boundary   3 an id that no committed message of
--       the thread lies above
-- Gives {floor, watermark, record, the newest message's id, its record; '' where there is none},
-- the id from which on the index was counted, how many it lists from there on, how many above the
-- given id, and the user's erasure.
local first = redis.call('ZRANGE', KEYS[1], 0, 0)[1]
local floor = first and string.sub(first, 1, 1) == '!' and string.sub(first, 2) or ''
local watermark, erased = redis.call('GET', KEYS[3]) or '', redis.call('GET', KEYS[4]) or ''
local gone = watermark > erased and watermark or erased

local newest = redis.call('ZRANGE', KEYS[1], -1, -1)[1] or ''
if string.sub(newest, 1, 1) == '!' or newest <= gone then newest = '' end
local message = newest ~= '' and redis.call('GET', ARGV[1] .. newest) or ''

local base, since = floor, ARGV[3]
if base < ARGV[2] then base = ARGV[2] end
if base < gone then base = gone end
if since < gone then since = gone end
return {
  floor, watermark, redis.call('GET', KEYS[2]) or '', newest, message, base,
  redis.call('ZLEXCOUNT', KEYS[1], '[' .. base, '+'),
  redis.call('ZLEXCOUNT', KEYS[1], '(' .. since, '+'),
  erased,
}
