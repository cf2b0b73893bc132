-- Takes a page that was read from below into the hot page.
--
-- KEYS  1 the thread's index   2 its watermark   3 the user's erasure, then the messages
-- ARGV  1 the floor that the reader saw, '' for a missing index   2 the new floor
--       3 seconds to stay hot, then for each message: id and record
-- Does nothing where the floor has moved since: then the page no longer fits. Nor where any of it
-- was deleted since, with the thread or with the user.
local first = redis.call('ZRANGE', KEYS[1], 0, 0)[1]
local floor = first and string.sub(first, 1, 1) == '!' and string.sub(first, 2) or ''
if floor ~= ARGV[1] then return 0 end
local gone = redis.call('GET', KEYS[2]) or ''
local erased = redis.call('GET', KEYS[3]) or ''
if gone < erased then gone = erased end
for i = 4, gone ~= '' and #KEYS or 0 do
  if ARGV[2 * i - 4] <= gone then return 0 end
end
local left = redis.call('PTTL', KEYS[1])
redis.call('ZREMRANGEBYLEX', KEYS[1], '-', '(0')
redis.call('ZADD', KEYS[1], 0, '!' .. ARGV[2])
for i = 4, #KEYS do
  local id, record = ARGV[2 * i - 4], ARGV[2 * i - 3]
  -- A copy that is there already is at least as new, and may be a tombstone since.
  local hot = redis.call('GET', KEYS[i])
  if not hot then redis.call('SET', KEYS[i], record, 'EX', ARGV[3]) end
  if not hot or string.find(hot, '"deleted_at":null', 1, true) then
    redis.call('ZADD', KEYS[1], 0, id)
  end
end
-- An index without one has pending messages, which must stay listed.
if left ~= -1 then redis.call('EXPIRE', KEYS[1], ARGV[3]) end
return 1
