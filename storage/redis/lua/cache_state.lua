-- Takes a committed state into Redis, where that has none or an older one.
--
-- KEYS  1 the state   2 the user's erasure
-- ARGV  1 record   2 version   3 seconds to stay hot   4 the lowest id of when it was written
local hot = redis.call('GETRANGE', KEYS[1], 0, 40)
local erased = redis.call('GET', KEYS[2])
if erased and erased >= ARGV[4] then return 0 end
local version = tonumber(string.match(hot, '^{"version":(%d+)') or -1)
if version >= tonumber(ARGV[2]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[3])
return 1
