-- Drops a copy that may be evicted. One without a time to live is pending and stays.
--
-- KEYS  1 the record
if redis.call('TTL', KEYS[1]) < 0 then return 0 end
return redis.call('UNLINK', KEYS[1])
