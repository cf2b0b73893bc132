-- Takes a thread's own data that was committed beside Redis, where it is newer.
--
-- KEYS  1 the thread's record   2 its index   3 its watermark   4 the user's events
--       5 their pages of threads   6 the mark that this was told
-- ARGV  1 record   2 version   3 the watermark or ''   4 seconds to stay hot   5 events to keep
--       6 user   7 seconds of the mark, or 0 where nobody is to be told
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

redis.pcall('HDEL', KEYS[5], 'generation')
if ARGV[7] == '0' or (version and version >= tonumber(ARGV[2])) then return 1 end
if redis.call('EXISTS', KEYS[4]) == 0 or redis.call('EXISTS', KEYS[6]) == 1 then return 1 end
redis.call('SET', KEYS[6], 1, 'EX', ARGV[7])
tell(KEYS[4], ARGV[5], 'type', 'thread_updated', 'record', ARGV[1], 'late', '1')
ring(ARGV[6])
return 1
