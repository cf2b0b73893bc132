-- Takes out the copies of one user's messages, or only counts them.
--
-- KEYS  message keys, whosever they are
-- ARGV  1 the user id as JSON text   2 the watermark   3 '1' to take out
-- Gives how many were the user's. The owner is read where a record begins: nothing that somebody
-- wrote comes before it.
local found = 0
for _, key in ipairs(KEYS) do
  if string.sub(key, -36) <= ARGV[2] then
    local head = redis.call('GETRANGE', key, 0, 4095)
    local _, stop = string.find(head, '^{"version":%d+,"id":"[^"]*","thread_id":"[^"]*","user_id":')
    if stop and string.sub(head, stop + 1, stop + #ARGV[1] + 1) == ARGV[1] .. ',' then
      found = found + 1
      if ARGV[3] == '1' then redis.call('UNLINK', key) end
    end
  end
end
return found
