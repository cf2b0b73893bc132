-- Puts a repaired record in the place of the refused one of the same version.
--
-- KEYS  1 the record
-- ARGV  1 the version   2 the repaired record   3 seconds to stay hot
-- Does nothing where Redis has another version, or none.
local hot = redis.call('GETRANGE', KEYS[1], 0, 40)
if string.match(hot, '^{"version":(%d+)') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return 1
