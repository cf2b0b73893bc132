-- Stores which message an Idempotency-Key made, unless it is known to have made a later one, since
-- what it made first is gone.
--
-- KEYS  1 the key
-- ARGV  1 the message's id   2 seconds to keep it
local known = redis.call('GET', KEYS[1])
if known and known >= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 1
