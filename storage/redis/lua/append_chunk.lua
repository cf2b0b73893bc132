-- Appends to the text of a message that comes in chunks, and tells those who listen.
--
-- KEYS  1 the stream   2 when the slot's streams were last written   3 the message
--       4 the user's erasure   5 their events
-- ARGV  1 user   2 message   3 text   4 where it begins, in bytes, or '' for the end
--       5 most bytes   6 events to keep   7 '1' where the tiers below say that it is open
-- Gives {'appended', bytes there are, version}, or with nothing written {'mismatch', bytes there
-- are}, {'long'}, {'closed'}, or {'unknown'}: the caller is to ask the tiers below what the message is.
local function milliseconds()
  local now = redis.call('TIME')
  return now[1] * 1000 + math.floor(now[2] / 1000)
end

local raw = redis.call('GETRANGE', KEYS[1], 0, 8191)
redis.call('ZCARD', KEYS[2])
local hot = string.match(redis.call('GETRANGE', KEYS[3], 0, 40), '^{"version":(%d+)')
local erased = redis.call('GET', KEYS[4])
local stop = string.find(raw, '\n', 1, true)
if not stop then return {'unknown'} end

local head = cjson.decode(string.sub(raw, 1, stop))
local deleted = redis.call('GET', head.watermark)
local is_gone = (erased and erased >= ARGV[2]) or (deleted and deleted >= ARGV[2])
-- A copy that has left Redis says nothing of a version that took its place.
local is_known = hot and tonumber(hot) == head.version or not hot and ARGV[7] == '1'
if head.user_id ~= ARGV[1] or is_gone or not is_known then return {'unknown'} end

local text, length, offset = ARGV[3], redis.call('STRLEN', KEYS[1]) - stop, tonumber(ARGV[4])
-- Where chunks were lost, only who says where they go on knows what is missing.
if not offset and string.lower(head.state) == 'l' then return {'mismatch', length} end
offset = offset or length
local there = math.min(#text, length - offset)
local known = there > 0 and redis.call('GETRANGE', KEYS[1], stop + offset, stop + offset + there - 1)
if there < 0 or (known and known ~= string.sub(text, 1, there)) then return {'mismatch', length} end

local rest = string.sub(text, there + 1)
if rest ~= '' and head.state == string.upper(head.state) then return {'closed'} end
if length + #rest > tonumber(ARGV[5]) then return {'long'} end
if rest ~= '' then
  redis.call('APPEND', KEYS[1], rest)
  if head.state ~= 'o' then redis.call('SETRANGE', KEYS[1], stop - 4, 'o') end
  redis.call('ZADD', KEYS[2], milliseconds(), ARGV[2])
  local record = '{"message_id":' .. cjson.encode(ARGV[2])
    .. ',"thread_id":' .. cjson.encode(head.thread_id)
    .. ',"offset":' .. string.format('%d', length) .. ',"text":' .. cjson.encode(rest) .. '}'
  local told = append_event(
    KEYS[5], ARGV[6], 'type', 'message_chunk', 'record', record, 'message', ARGV[2], 'thread',
    head.thread_id, 'version', head.version
  )
  if told then notify(head.user_id) end
end
return {'appended', length + #rest, head.version}
