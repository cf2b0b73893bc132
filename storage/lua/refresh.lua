-- Takes a version that was committed beside Redis into the copy that Redis has, where it is newer.
--
-- KEYS  1 the message   2 the thread's index
-- ARGV  1 id   2 record   3 version   4 '1' for a tombstone   5 seconds to stay hot
local hot = redis.call('GET', KEYS[1])
redis.call('ZCARD', KEYS[2])
local version = hot and tonumber(string.match(hot, '^{"version":(%d+)') or 0)
if version and version > tonumber(ARGV[3]) then return 0 end
if version and version < tonumber(ARGV[3]) then
  redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[5])
end
if ARGV[4] == '1' then redis.call('ZREM', KEYS[2], ARGV[1]) end
return 1
