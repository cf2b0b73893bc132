-- Sees to it that a user has a stream of events, and that it stays for a while.
--
-- KEYS  1 the stream
-- ARGV  1 seconds to stay
-- Gives the place of its newest entry; a stream that is made begins with a mark to stand on.
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local place = newest and newest[1] or redis.call('XADD', KEYS[1], '*', 'type', 'opened')
redis.call('EXPIRE', KEYS[1], ARGV[1])
return place
