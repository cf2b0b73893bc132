-- Writes the next version of a state, if the hot copy still is the version it rests on.
--
-- KEYS  1 the state   2 the pending stream   3 the drain flag   4 the user's erasure
-- ARGV  1 record   2 the version it rests on   3 drain flag milliseconds   4 the lowest id of when
--       it was written
-- Gives {'conflict', the hot record, the user's erasure or ''} or {'behind', id} with nothing
-- written: the user was erased up to that id; or {'stored', wake}.
local hot = redis.call('GET', KEYS[1])
redis.call('XLEN', KEYS[2])
redis.call('GET', KEYS[3])
local erased = redis.call('GET', KEYS[4])
if erased and erased >= ARGV[4] then return {'behind', erased} end
if hot and string.match(hot, '^{"version":(%d+)') ~= ARGV[2] then return {'conflict', hot, erased or ''} end

redis.call('XADD', KEYS[2], '*', 'state', ARGV[1])
redis.call('SET', KEYS[1], ARGV[1])
return {'stored', redis.call('SET', KEYS[3], 1, 'NX', 'PX', ARGV[3]) and 1 or 0}
