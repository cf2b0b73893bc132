-- Takes a version of a message or of a thread that was committed beside Redis into the copy that
-- Redis has, where it is newer. Where Redis had nothing of it, or an older version, those who listen
-- are told late, once.
--
-- KEYS  1 the record   2 the thread's index   3 its watermark   4 the user's events   5 their pages
--       of threads   6 the mark that this was told
-- ARGV  1 record   2 version   3 seconds to stay hot   4 the id of a tombstone, which is no longer
--       listed, or ''   5 the watermark that it sets, or ''   6 events to keep   7 user   8 thread
--       9 the message, '' for a thread   10 seconds of the mark, then the kinds of events
local hot = redis.call('GETRANGE', KEYS[1], 0, 40)
redis.call('ZCARD', KEYS[2])
local watermark = redis.call('GET', KEYS[3])
local given = tonumber(ARGV[2])
local version = hot ~= '' and tonumber(string.match(hot, '^{"version":(%d+)') or 0)
if version and version < given then redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[3]) end
if ARGV[4] ~= '' and not (version and version > given) then redis.call('ZREM', KEYS[2], ARGV[4]) end
if ARGV[5] ~= '' and (not watermark or watermark < ARGV[5]) then
  redis.call('SET', KEYS[3], ARGV[5], 'EX', ARGV[3])
  redis.call('ZREMRANGEBYLEX', KEYS[2], '[0', '[' .. ARGV[5])
end

redis.pcall('HDEL', KEYS[5], 'generation')
if #ARGV == 10 or (version and version >= given) then return 1 end
if redis.call('EXISTS', KEYS[4]) == 0 or redis.call('EXISTS', KEYS[6]) == 1 then return 1 end
redis.call('SET', KEYS[6], 1, 'EX', ARGV[10])
for i = 11, #ARGV do
  append_event(KEYS[4], ARGV[6], 'type', ARGV[i], 'record', ARGV[1], 'late', '1')
end
if ARGV[9] ~= '' then
  append_event(
    KEYS[4], ARGV[6], 'type', 'message_persisted', 'message', ARGV[9], 'thread', ARGV[8],
    'version', ARGV[2], 'late', '1'
  )
end
notify(ARGV[7])
return 1
