-- Appends one or more new messages to one thread: all of them or none.
--
-- KEYS  1 the thread's index   2 the pending stream   3 the drain flag   4 the watermark
--       5 the user's erasure   6 their events   7 their threads that wait   8 their pages of threads
--       9 .. 8+n the messages, then one key for each Idempotency-Key given
-- ARGV  1 n   2 idempotency seconds   3 drain flag milliseconds   4 events to keep   5 user
--       6 thread   then for each message: id, record, the position of its idempotency key's name
--       in KEYS or 0, the idempotency key itself, and the id up to which what the key made is gone
-- Gives {'behind', id}: nothing was written, mint again above this id; or
--       {'stored', 1 if the caller is to wake the worker, then per message its id or, for a
--       repeated key, the id that the key made first}.
--
-- A script that fails midway keeps its writes. So what a key of the wrong type could break is read
-- first, and the log, which would break at its own first word, is written first.
local n = tonumber(ARGV[1])
local newest = redis.call('ZRANGE', KEYS[1], -1, -1)[1]
local watermark = redis.call('GET', KEYS[4])
local erased = redis.call('GET', KEYS[5])
local woken = redis.call('GET', KEYS[3])

local answer, fresh, made = {}, {}, {}
for i = 1, n do
  local id, key = ARGV[5 * i + 2], tonumber(ARGV[5 * i + 4])
  local first = false
  if key > 0 then
    first = made[KEYS[key]] or redis.call('GET', KEYS[key])
    if first and first <= ARGV[5 * i + 6] then first = false end
    if not first then made[KEYS[key]] = id end
  end
  answer[i] = first or id
  if not first then fresh[#fresh + 1] = i end
end
if #fresh == 0 then return {'stored', 0, unpack(answer)} end

local lowest = ARGV[5 * fresh[1] + 2]
if newest and string.sub(newest, 1, 1) ~= '!' and newest >= lowest then
  return {'behind', newest}
end
if watermark and watermark >= lowest then return {'behind', watermark} end
if erased and erased >= lowest then return {'behind', erased} end

local entry
for _, i in ipairs(fresh) do
  if tonumber(ARGV[5 * i + 4]) > 0 then
    entry = redis.call('XADD', KEYS[2], '*', 'message', ARGV[5 * i + 3], 'key', ARGV[5 * i + 5])
  else
    entry = redis.call('XADD', KEYS[2], '*', 'message', ARGV[5 * i + 3])
  end
end
-- A missing index says nothing of older messages: it is complete only from here on.
if not newest then redis.call('ZADD', KEYS[1], 0, '!' .. lowest) end
local records, listed = {}, {}
for _, i in ipairs(fresh) do
  local id, key = ARGV[5 * i + 2], tonumber(ARGV[5 * i + 4])
  records[#records + 1], records[#records + 2] = KEYS[8 + i], ARGV[5 * i + 3]
  listed[#listed + 1], listed[#listed + 2] = 0, id
  if key > 0 then redis.call('SET', KEYS[key], id, 'EX', ARGV[2]) end
end
redis.call('MSET', unpack(records))
redis.call('ZADD', KEYS[1], unpack(listed))
redis.call('PERSIST', KEYS[1])

mark_thread_appended(KEYS[7], KEYS[8], ARGV[6], entry)
local listened = true
for _, i in ipairs(fresh) do
  listened = listened
    and append_event(KEYS[6], ARGV[4], 'type', 'message_received', 'record', ARGV[5 * i + 3])
end
if listened then notify(ARGV[5]) end
if woken then return {'stored', 0, unpack(answer)} end
redis.call('SET', KEYS[3], 1, 'PX', ARGV[3])
return {'stored', 1, unpack(answer)}
