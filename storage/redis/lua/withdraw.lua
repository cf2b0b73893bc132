-- Takes a refused version out of the hot page, because nobody keeps it any more.
--
-- KEYS  1 the record   2 the thread's index and   3 the thread's watermark, of a state neither
-- ARGV  1 the refused version   2 the message's id, '' for a thread   3 the watermark that the
--       version set, '' for none   4 a floor above every id where a lower tier may have an older
--       version, else ''
-- Gives 1, or 0 with nothing changed: Redis has another version, or none.
local hot = redis.call('GETRANGE', KEYS[1], 0, 40)
local watermark = KEYS[2] and redis.call('ZCARD', KEYS[2]) and redis.call('GET', KEYS[3])
if string.match(hot, '^{"version":(%d+)') ~= ARGV[1] then return 0 end

redis.call('DEL', KEYS[1])
if not KEYS[2] then return 1 end
if ARGV[2] ~= '' then redis.call('ZREM', KEYS[2], ARGV[2]) end
if ARGV[3] ~= '' and watermark == ARGV[3] then redis.call('DEL', KEYS[3]) end
if ARGV[4] ~= '' and redis.call('EXISTS', KEYS[2]) == 1 then
  -- What the older version says is to be read from below.
  redis.call('ZREMRANGEBYLEX', KEYS[2], '-', '(0')
  redis.call('ZADD', KEYS[2], 0, '!' .. ARGV[4])
end
-- A floor with nothing above it would make a thread of this alone.
local first = redis.call('ZRANGE', KEYS[2], 0, 1)
if #first == 1 and string.sub(first[1], 1, 1) == '!' then redis.call('DEL', KEYS[2]) end
return 1
