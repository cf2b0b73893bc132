-- Takes a version that was committed beside Redis into the copy that Redis has, where it is newer.
-- Where Redis had nothing of it, or an older version, those who listen are told late, once.
--
-- KEYS  1 the message   2 the thread's index   3 the user's events   4 their pages of threads
--       5 the mark that this was told
-- ARGV  1 id   2 record   3 version   4 '1' for a tombstone   5 seconds to stay hot
--       6 events to keep   7 user   8 thread   9 seconds of the mark, then the kinds of events
local hot = redis.call('GET', KEYS[1])
redis.call('ZCARD', KEYS[2])
local version = hot and tonumber(string.match(hot, '^{"version":(%d+)') or 0)
if version and version > tonumber(ARGV[3]) then return 0 end
if version and version < tonumber(ARGV[3]) then
  redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[5])
end
if ARGV[4] == '1' then redis.call('ZREM', KEYS[2], ARGV[1]) end

redis.pcall('HDEL', KEYS[4], 'generation')
if #ARGV == 9 or (version and version == tonumber(ARGV[3])) then return 1 end
if redis.call('EXISTS', KEYS[3]) == 0 or redis.call('EXISTS', KEYS[5]) == 1 then return 1 end
redis.call('SET', KEYS[5], 1, 'EX', ARGV[9])
for i = 10, #ARGV do
  tell(KEYS[3], ARGV[6], 'type', ARGV[i], 'record', ARGV[2], 'late', '1')
end
tell(
  KEYS[3], ARGV[6], 'type', 'message_persisted', 'message', ARGV[1], 'thread', ARGV[8],
  'version', ARGV[3], 'late', '1'
)
ring(ARGV[7])
return 1
