-- Writes a version of a thread's own data: creation, change or deletion.
--
-- KEYS  1 the thread's record   2 its index   3 the pending stream   4 the drain flag
--       5 its watermark   6 the user's erasure   7 their events   8 their threads that wait
--       9 their pages of threads
-- ARGV  1 record   2 the version it rests on, 0 for a creation   3 the watermark of a deletion,
--       or ''   4 drain flag milliseconds   5 the lowest id of when the thread was created
--       6 events to keep   7 user   8 thread
-- Gives {'conflict', the hot record or ''} or {'erased'} with nothing written, or {'stored', wake}.
local hot = redis.call('GET', KEYS[1])
local newest = redis.call('ZRANGE', KEYS[2], -1, -1)[1] or ''
redis.call('XLEN', KEYS[3])
redis.call('GET', KEYS[4])
local gone, erased = redis.call('GET', KEYS[5]) or '', redis.call('GET', KEYS[6])
if erased and erased > gone then gone = erased end
if erased and erased >= ARGV[5] then return {'erased'} end
if hot and string.match(hot, '^{"version":(%d+)') ~= ARGV[2] then return {'conflict', hot} end
-- An index outlives its messages, and may be nothing but a floor, which begins with a mark.
if ARGV[2] == '0' and newest > gone and string.sub(newest, 1, 1) ~= '!' then return {'conflict', hot or ''} end

local entry = redis.call('XADD', KEYS[3], '*', 'thread', ARGV[1])
redis.call('SET', KEYS[1], ARGV[1])
if ARGV[3] ~= '' then
  redis.call('SET', KEYS[5], ARGV[3])
  -- A message above the watermark was posted after it was made, and before this: it stays.
  redis.call('ZREMRANGEBYLEX', KEYS[2], '[0', '[' .. ARGV[3])
  local left = redis.call('ZRANGE', KEYS[2], -1, -1)[1]
  if left and string.sub(left, 1, 1) == '!' then redis.call('DEL', KEYS[2]) end
end

touch(KEYS[8], KEYS[9], ARGV[8], entry)
if tell(KEYS[7], ARGV[6], 'type', 'thread_updated', 'record', ARGV[1]) then ring(ARGV[7]) end
return {'stored', redis.call('SET', KEYS[4], 1, 'NX', 'PX', ARGV[4]) and 1 or 0}
