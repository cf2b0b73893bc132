-- Reads a message and what hides messages of its thread, in one step.
--
-- KEYS  1 the message   2 the erasure of the user who asks
-- ARGV  1 what the keys of that user's threads of this slot begin with
-- Gives {record, watermark or ''}, the watermark that of the thread or of the user, whichever is
-- higher; {''} where there is no such message; and {record} where its thread's name cannot be read.
local record = redis.call('GET', KEYS[1])
if not record then return {''} end
local thread = string.match(record, '^{"version":%d+,"id":"[%x-]+","thread_id":"([%w._:-]+)"')
if not thread then return {record} end
local name = ARGV[1] .. string.gsub(thread, ':', '%%3A') .. ':deleted-through'
local watermark, erased = redis.call('GET', name) or '', redis.call('GET', KEYS[2]) or ''
return {record, watermark > erased and watermark or erased}
