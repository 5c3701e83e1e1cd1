-- Put a dead letter back into its conversation's inbox, once.
--
-- KEYS  1 conversation  2 due  3 alarm  4 dead letters
-- ARGV  1 conversation id  2 letter  3 event  4 now
-- Reply 1  the event is in the inbox; 0  there is no such letter, and nothing was changed

if redis.call('ZREMRANGEBYSCORE', KEYS[4], ARGV[2], ARGV[2]) == 0 then return 0 end
local c = redis.call('HMGET', KEYS[1], 'next', 'holder')
local next_ = tonumber(c[1] or 0)
redis.call('HSET', KEYS[1], 'e' .. next_, ARGV[3], 'next', next_ + 1)
-- A holder finds the event before it releases.
if (c[2] or '') == '' then
    redis.call('HSET', KEYS[1], 'due_at', ARGV[4])
    redis.call('ZADD', KEYS[2], ARGV[4], ARGV[1])
    redis.call('SET', KEYS[3], '', 'PX', 1)
end
return 1
