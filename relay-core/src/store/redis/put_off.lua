-- Give back the lease of a conversation that the caller took and cannot read; it is due again later.
--
-- KEYS  1 conversation  2 due  3 alarm
-- ARGV  1 conversation id  2 fence  3 when it is due again
-- Reply 1  given back; 0  the lease is not the caller's, and nothing was changed

if redis.call('HGET', KEYS[1], 'fence') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'holder', '', 'due_at', ARGV[3])
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])
redis.call('DEL', KEYS[3])
return 1
