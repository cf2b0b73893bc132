-- Takes a refused version of a state out, because nobody keeps it any more.
--
-- KEYS  1 the state
-- ARGV  1 the refused version
-- Gives 1, or 0 with nothing changed: Redis has another version, or none.
local version = string.match(redis.call('GETRANGE', KEYS[1], 0, 40), '^{"version":(%d+)')
if version ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
