-- What scripts that change something of a user's have in common; it stands before each of them.
--
-- Nobody's write fails because others could not be told, so errors stay here.

-- Appends an event to a user's stream, where there is one; gives whether there is.
local function append_event(stream, kept, ...)
  local id = redis.pcall('XADD', stream, 'NOMKSTREAM', 'MAXLEN', '~', kept, '*', ...)
  return type(id) == 'string'
end

-- Tells whoever reads streams that this user's has news: a hint, the stream is the truth.
local function notify(user)
  redis.pcall('PUBLISH', 'threadkeep:events', user)
end

-- Notes that a thread has new messages, the last by this entry of the log. Pages of lists hold, but
-- for this thread, whose number among such notes is kept beside them.
local function mark_thread_appended(waiting, pages, thread, entry)
  redis.pcall('HSET', waiting, thread, entry)
  if redis.pcall('HEXISTS', pages, 'generation') ~= 1 then return end
  redis.pcall('HSET', pages, '+' .. thread, redis.pcall('HINCRBY', pages, 'changes', 1))
  if redis.pcall('HLEN', pages) > 200 then redis.pcall('HDEL', pages, 'generation') end
end

-- Notes that a thread was last written by this entry of the log; no list of threads holds any more.
local function mark_thread_dirty(waiting, pages, thread, entry)
  redis.pcall('HSET', waiting, thread, entry)
  redis.pcall('HDEL', pages, 'generation')
end
