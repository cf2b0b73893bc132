-- Takes a thread's own data that was committed beside Redis, where it is newer.
--
-- KEYS  1 the thread's record   2 its index   3 its watermark
-- ARGV  1 record   2 version   3 the watermark or ''   4 seconds to stay hot
local hot = redis.call('GET', KEYS[1])
redis.call('ZCARD', KEYS[2])
local watermark = redis.call('GET', KEYS[3])
local version = hot and tonumber(string.match(hot, '^{"version":(%d+)') or 0)
if version and version < tonumber(ARGV[2]) then
  redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[4])
end
if ARGV[3] ~= '' and (not watermark or watermark < ARGV[3]) then
  redis.call('SET', KEYS[3], ARGV[3], 'EX', ARGV[4])
  redis.call('ZREMRANGEBYLEX', KEYS[2], '[0', '[' .. ARGV[3])
end
return 1
