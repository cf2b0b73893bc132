-- Writes the next version of a message, of a thread's own data or of a state, if the hot copy still
-- is the version it rests on.
--
-- KEYS  1 the record   2 the pending stream   3 the drain flag   4 the user's erasure, and but for a
--       state   5 the thread's index   6 its watermark   7 the user's events   8 their threads that
--       wait   9 their pages of threads
-- ARGV  1 'message', 'thread' or 'state'   2 record   3 the version it rests on, 0 for none
--       4 drain flag milliseconds   5 the id at or above which an erasure hides it, and but for a
--       state   6 events to keep   7 user   8 thread   9 the kind of event   10 the id of a tombstone,
--       which is no longer listed, or ''   11 the watermark of a thread's deletion, or ''
-- Gives {'conflict', the hot record or '', the user's erasure or ''} or {'erased', id} with nothing
-- written: the user was erased up to that id; or {'stored', wake}.
local hot = redis.call('GET', KEYS[1])
redis.call('XLEN', KEYS[2])
redis.call('GET', KEYS[3])
local erased = redis.call('GET', KEYS[4])
local index, kind = KEYS[5], ARGV[1]
local newest = index and redis.call('ZRANGE', index, -1, -1)[1] or ''
local gone = index and redis.call('GET', KEYS[6]) or ''
if erased and erased > gone then gone = erased end
if erased and erased >= ARGV[5] then return {'erased', erased} end
if hot and string.match(hot, '^{"version":(%d+)') ~= ARGV[3] then
  return {'conflict', hot, erased or ''}
end
-- Messages make a thread. An index outlives them, and may be nothing but a floor, which begins with
-- a mark.
local is_creation = kind == 'thread' and ARGV[3] == '0'
if is_creation and newest > gone and string.sub(newest, 1, 1) ~= '!' then
  return {'conflict', hot or '', erased or ''}
end

local entry = redis.call('XADD', KEYS[2], '*', kind, ARGV[2])
redis.call('SET', KEYS[1], ARGV[2])
if index then
  if kind == 'message' then redis.call('PERSIST', index) end
  if ARGV[10] ~= '' then redis.call('ZREM', index, ARGV[10]) end
  if ARGV[11] ~= '' then
    redis.call('SET', KEYS[6], ARGV[11])
    -- A message above the watermark was posted after it was made, and before this: it stays.
    redis.call('ZREMRANGEBYLEX', index, '[0', '[' .. ARGV[11])
    local left = redis.call('ZRANGE', index, -1, -1)[1]
    if left and string.sub(left, 1, 1) == '!' then redis.call('DEL', index) end
  end
  mark_thread_dirty(KEYS[8], KEYS[9], ARGV[8], entry)
  if append_event(KEYS[7], ARGV[6], 'type', ARGV[9], 'record', ARGV[2]) then notify(ARGV[7]) end
end
return {'stored', redis.call('SET', KEYS[3], 1, 'NX', 'PX', ARGV[4]) and 1 or 0}
