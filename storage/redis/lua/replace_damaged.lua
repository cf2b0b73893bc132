-- Puts the right copy of a message in the place of a wrong one, if that is still there.
--
-- KEYS  1 the message   2 the thread's index
-- ARGV  1 SHA-1 of the wrong record, in hex   2 the right record, '' where there is to be none
--       3 id   4 '1' for a message that is not to be listed   5 seconds to stay hot
local hot = redis.call('GET', KEYS[1])
redis.call('ZCARD', KEYS[2])
if not hot or redis.sha1hex(hot) ~= ARGV[1] then return 0 end
if ARGV[2] == '' then
  redis.call('UNLINK', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[5])
end
if ARGV[4] == '1' then redis.call('ZREM', KEYS[2], ARGV[3]) end
return 1
