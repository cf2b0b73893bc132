-- After the commit: the log forgets the entries, and what they wrote becomes evictable.
--
-- KEYS  1 the pending stream, then r records, t threads' indexes, w watermarks, for each of u
--       users: events, threads that wait, pages of threads, and for each of d messages that are
--       hidden and so were not taken in: its record, its stream, its index
-- ARGV  1 seconds to stay hot   2 hot page size   3 prefix of message keys   4 r   5 t   6 w   7 u
--       8 events to keep   9 d, then for each record the committed version and how many seconds it
--       stays, the w committed watermarks, the d hidden messages, for each user the name and how
--       many entries, each of which is: its id, its thread, the message or '' where none was
--       committed, the version; and then the ids of entries that are nobody's
-- Only a copy that is not newer than the committed one gets a TTL: a later version is still
-- pending, and what is not in PostgreSQL must never be evicted. What is hidden stays hidden in every
-- version, so nobody keeps it.
local ttl, page, prefix = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local r, t, w, u = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local d = tonumber(ARGV[9])

for i = 1, r do
  local version = string.match(redis.call('GETRANGE', KEYS[1 + i], 0, 40), '^{"version":(%d+)')
  if version and tonumber(version) <= tonumber(ARGV[8 + 2 * i]) then
    redis.call('EXPIRE', KEYS[1 + i], ARGV[9 + 2 * i])
  end
end
for i = 1, w do
  local key = KEYS[1 + r + t + i]
  if redis.call('GET', key) == ARGV[9 + 2 * r + i] then redis.call('EXPIRE', key, ttl) end
end
for i = 1, d do
  local first, id = 3 * (i - 1) + 2 + r + t + w + 3 * u, ARGV[9 + 2 * r + w + i]
  local index = KEYS[first + 2]
  redis.call('UNLINK', KEYS[first], KEYS[first + 1])
  redis.call('ZREM', index, id)
  -- A floor from before the deletion with nothing above it would make a thread of this alone.
  local left = redis.call('ZRANGE', index, 0, 1)
  if #left == 1 and string.sub(left[1], 1, 1) == '!' and string.sub(left[1], 2) <= id then
    redis.call('DEL', index)
  end
end

-- Whether this call, and no earlier one whose answer was lost, has the log forget an entry.
local function forget(entry) return redis.call('XDEL', KEYS[1], entry) == 1 end
-- Entries of which nobody is told: the log forgets them together.
local unheard = {}
local at = 10 + 2 * r + w + d
for user = 1, u do
  local first = 3 * (user - 1) + 2 + r + t + w
  local events, waiting, pages = KEYS[first], KEYS[first + 1], KEYS[first + 2]
  local name, listened, rings = ARGV[at], redis.call('EXISTS', events) == 1, false
  local differs, newest = false, {}
  local past = at + 2 + 4 * tonumber(ARGV[at + 1])
  for i = at + 2, past - 1, 4 do
    local entry, thread, message, version = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
    if not listened or message == '' then
      unheard[#unheard + 1] = entry
    elseif forget(entry) then
      rings = append_event(
        events, ARGV[8], 'type', 'message_persisted', 'message', message, 'thread', thread,
        'version', version
      )
    end
    if newest[thread] == nil then newest[thread] = redis.pcall('HGET', waiting, thread) end
    if newest[thread] == entry then redis.call('HDEL', waiting, thread) end
    differs = differs or message == '' or version ~= '1'
  end
  -- Lists have a new message from when it was posted, and its commit changes nothing of that.
  if differs then redis.pcall('HDEL', pages, 'generation') end
  if rings then notify(name) end
  at = past
end
for i = at, #ARGV do unheard[#unheard + 1] = ARGV[i] end
for i = 1, #unheard, 1000 do
  redis.call('XDEL', KEYS[1], unpack(unheard, i, math.min(i + 999, #unheard)))
end

local function persisted(id) return redis.call('TTL', prefix .. id) ~= -1 end
for i = 2 + r, 1 + r + t do
  local index = KEYS[i]
  -- The index outgrows the hot page only by what is pending; its floor rises with what leaves.
  local surplus = redis.call('ZCARD', index) - 1 - page
  if surplus > 0 then
    local oldest = redis.call('ZRANGEBYLEX', index, '[0', '+', 'LIMIT', 0, surplus + 1)
    local gone = 0
    while gone < surplus and persisted(oldest[gone + 1]) do
      gone = gone + 1
    end
    if gone > 0 then redis.call('ZREMRANGEBYLEX', index, '[0', '[' .. oldest[gone]) end
    -- A floor only rises: one above every id says that the index is complete nowhere.
    local floor = '!' .. (oldest[gone + 1] or '')
    if gone > 0 and redis.call('ZRANGE', index, 0, 0)[1] < floor then
      redis.call('ZREMRANGEBYLEX', index, '-', '(0')
      redis.call('ZADD', index, 0, floor)
    end
  end
  local newest = redis.call('ZRANGE', index, -1, -1)[1]
  if newest and persisted(newest) then redis.call('EXPIRE', index, ttl) end
end
