-- Lets nothing more come to the text of a message, so that what is there is all there will be.
--
-- KEYS  1 the stream   2 when the slot's streams were last written
-- ARGV  1 the message   2 '' to finish it, or the milliseconds without a chunk that make it idle
-- Gives the stream as it was before: its head, a line, and the text. '' where there is none, or
-- where it is not idle.
redis.call('ZCARD', KEYS[2])
local raw = redis.call('GET', KEYS[1])
if not raw then
  redis.call('ZREM', KEYS[2], ARGV[1])
  return ''
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[2] ~= '' then
  local last = tonumber(redis.call('ZSCORE', KEYS[2], ARGV[1]) or 0)
  if last > now - tonumber(ARGV[2]) then return '' end
else
  redis.call('ZADD', KEYS[2], now, ARGV[1])
end
-- A capital letter says that nothing may be added. Where chunks were lost nobody finishes it like
-- this, and whoever tried may bring them again.
local stop = string.find(raw, '\n', 1, true)
local state = string.sub(raw, stop - 3, stop - 3)
if ARGV[2] ~= '' or state ~= 'l' then
  redis.call('SETRANGE', KEYS[1], stop - 4, string.upper(state))
end
return raw
