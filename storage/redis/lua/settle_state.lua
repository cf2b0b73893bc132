-- After the commit: a state becomes evictable, unless a newer version is pending.
--
-- KEYS  1 the state
-- ARGV  1 the committed version   2 seconds to stay hot
local version = string.match(redis.call('GETRANGE', KEYS[1], 0, 40), '^{"version":(%d+)')
if not version or tonumber(version) > tonumber(ARGV[1]) then return 0 end
return redis.call('EXPIRE', KEYS[1], ARGV[2])
