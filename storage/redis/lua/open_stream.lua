-- Begins the text of a message that comes in chunks, unless it has begun.
--
-- KEYS  1 the stream   2 when the slot's streams were last written
-- ARGV  1 the head, a line   2 the text so far   3 the message
-- Gives how many bytes of text there are.
redis.call('ZCARD', KEYS[2])
if redis.call('SET', KEYS[1], ARGV[1] .. ARGV[2], 'NX') then
  local now = redis.call('TIME')
  redis.call('ZADD', KEYS[2], now[1] * 1000 + math.floor(now[2] / 1000), ARGV[3])
end
local stop = string.find(redis.call('GETRANGE', KEYS[1], 0, 8191), '\n', 1, true)
return redis.call('STRLEN', KEYS[1]) - stop
