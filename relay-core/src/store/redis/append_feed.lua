-- Append to a conversation's feed, once per key, and tell whoever follows it.
--
-- KEYS  1 feed  2 keys of the feed's entries
-- ARGV  1 key  2 entry  3 feed_max  4 channel that tells followers  5 conversation id
-- Reply 1  appended; 0  the key was there, and nothing was changed
-- A feed begins at the time in microseconds, so that one that was erased begins anew behind all that its viewers have seen. It is
-- counted from 2026 on, because older relays write such a number whole only if it has no more than fourteen digits.

local function now()
    local time = redis.call('TIME')
    return math.max(1, (time[1] - 1767225600) * 1000000 + time[2])
end
local last = redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')[2]
local cursor = string.format('%.0f', last and last + 1 or now())
if redis.call('ZADD', KEYS[2], 'NX', cursor, ARGV[1]) == 0 then return 0 end
redis.call('ZADD', KEYS[1], cursor, cursor .. ':' .. ARGV[2])
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -ARGV[3] - 1)
redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -ARGV[3] - 1)
redis.call('PUBLISH', ARGV[4], ARGV[5])
return 1
