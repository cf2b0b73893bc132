-- Reads a page of a user's list of threads, and for what a page must be merged with.
--
-- KEYS  1 their pages of threads   2 their threads that wait   3 the users who list
-- ARGV  1 a token   2 seconds that pages stay   3 the page asked for   4 the page to fall back to
--       5 the user who asks, '' where nobody does   6 seconds that who lists is remembered
-- Gives {generation, how many changes it has seen, the page asked for, the other page, threads that
-- wait, threads with new messages since the page; '' for a page that is not there}. A page of this
-- very generation that has seen all changes holds, and comes alone.
--
-- A Redis that takes no writes is read all the same; what is read is then not stored.
local generation = redis.call('HGET', KEYS[1], 'generation')
if not generation then
  generation = ARGV[1]
  -- What was deleted must not stay in pages that nobody asks for.
  for _, name in ipairs(redis.call('HKEYS', KEYS[1])) do
    if name ~= ARGV[3] and name ~= ARGV[4] then redis.pcall('HDEL', KEYS[1], name) end
  end
  local made = redis.pcall('HSET', KEYS[1], 'generation', generation)
  if type(made) ~= 'number' then generation = '' end
  redis.pcall('EXPIRE', KEYS[1], ARGV[2])
end
if ARGV[5] ~= '' then
  -- Once a minute: what is written is synced, which takes longer than all else here.
  local now, noted = redis.call('TIME')[1], redis.call('ZSCORE', KEYS[3], ARGV[5])
  if not noted or now - noted >= 60 then
    redis.pcall('ZADD', KEYS[3], now, ARGV[5])
    redis.pcall('EXPIRE', KEYS[3], ARGV[6])
  end
end
local page = redis.call('HGET', KEYS[1], ARGV[3]) or ''
local changes = tonumber(redis.call('HGET', KEYS[1], 'changes') or 0)
local of, seen = string.match(page, '^{"generation":"(%x*)","changes":(%d+),')
seen = of == generation and tonumber(seen)
if seen == changes then return {generation, changes, page, '', {}, {}} end
local changed = {}
for _, name in ipairs(seen and redis.call('HKEYS', KEYS[1]) or {}) do
  local is_thread = string.sub(name, 1, 1) == '+'
  if is_thread and tonumber(redis.call('HGET', KEYS[1], name)) > seen then
    table.insert(changed, string.sub(name, 2))
  end
end
local other = redis.call('HGET', KEYS[1], ARGV[4]) or ''
return {generation, changes, page, other, redis.call('HKEYS', KEYS[2]), changed}
