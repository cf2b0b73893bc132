-- Writes the next version of one message, if the hot copy still is the version it rests on.
--
-- KEYS  1 the message   2 the thread's index   3 the pending stream   4 the drain flag
--       5 the user's erasure   6 their events   7 their threads that wait   8 their pages of threads
-- ARGV  1 id   2 record   3 the version it rests on   4 '1' for a tombstone
--       5 drain flag milliseconds   6 events to keep   7 user   8 thread
-- Gives {'conflict', the hot record} or {'erased'} with nothing written, or {'stored', wake}.
local hot = redis.call('GET', KEYS[1])
redis.call('ZCARD', KEYS[2])
redis.call('XLEN', KEYS[3])
redis.call('GET', KEYS[4])
local erased = redis.call('GET', KEYS[5])
if erased and erased >= ARGV[1] then return {'erased'} end
if hot and string.match(hot, '^{"version":(%d+)') ~= ARGV[3] then return {'conflict', hot} end

local entry = redis.call('XADD', KEYS[3], '*', 'message', ARGV[2])
redis.call('SET', KEYS[1], ARGV[2])
if ARGV[4] == '1' then redis.call('ZREM', KEYS[2], ARGV[1]) end
redis.call('PERSIST', KEYS[2])

touch(KEYS[7], KEYS[8], ARGV[8], entry)
local kind = ARGV[4] == '1' and 'message_deleted' or 'message_updated'
if tell(KEYS[6], ARGV[6], 'type', kind, 'record', ARGV[2]) then ring(ARGV[7]) end
return {'stored', redis.call('SET', KEYS[4], 1, 'NX', 'PX', ARGV[5]) and 1 or 0}
