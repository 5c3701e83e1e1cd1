-- Reserve turns of a line, if the first of them comes soon enough.
--
-- KEYS  1 lines
-- ARGV  1 line  2 now  3 length of all turns together  4 longest wait; times in microseconds
-- Reply {'in', wait}     reserved; the first turn is in so long
--       {'later', wait}  nothing was changed; a turn is to be had in so long
-- Numbers of this size are exact, and written whole: '%.0f' keeps Lua from an exponent.

local now = tonumber(ARGV[2])
local turn = math.max(tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or 0), now)
local wait = string.format('%.0f', turn - now)
if turn - now > tonumber(ARGV[4]) then return {'later', wait} end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', turn + tonumber(ARGV[3])))
return {'in', wait}
