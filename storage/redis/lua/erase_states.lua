-- Takes out the states of one user, or only counts them.
--
-- KEYS  states of the user
-- ARGV  1 the erasure's time: what was written later stays   2 '1' to take out
local found = 0
for _, key in ipairs(KEYS) do
  local head = redis.call('GETRANGE', key, 0, 100)
  local written = string.match(head, '^{"version":%d+,"updated_at":"([^"]*)"')
  if head ~= '' and (not written or written <= ARGV[1]) then
    found = found + 1
    if ARGV[2] == '1' then redis.call('UNLINK', key) end
  end
end
return found
