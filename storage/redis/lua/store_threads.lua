-- Keeps a page of a user's list of threads, if its reader began with the generation that there is.
--
-- KEYS  1 their pages of threads   2 the user's erasure
-- ARGV  1 the generation that the reader began with   2 the page's name   3 the page
--       4 the page to fall back to   5 how many pages to keep
-- Of a user who is being erased nothing is kept: the reader may have begun before.
if redis.call('HGET', KEYS[1], 'generation') ~= ARGV[1] then return 0 end
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
local pages = {}
for _, name in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(name, 1, 1) == '[' then table.insert(pages, name) end
end
if #pages >= tonumber(ARGV[5]) then
  for _, name in ipairs(pages) do
    if name ~= ARGV[4] then redis.call('HDEL', KEYS[1], name) end
  end
end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
return 1
