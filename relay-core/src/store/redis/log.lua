-- Read a conversation's log.
--
-- KEYS  1 conversation
-- ARGV  1 cursor  2 limit  3 '1' to have the next commit that appends tell whoever follows
-- Reply {}  nothing was appended after the cursor, or there is no such conversation
--       {first, entry...}  the entries after the cursor, the oldest first, and the place of the first

local c = redis.call('HMGET', KEYS[1], 'fence', 'log_first', 'logged', 'watched')
if not c[1] then return {} end
if ARGV[3] == '1' and c[4] ~= '1' then redis.call('HSET', KEYS[1], 'watched', '1') end
local first = math.max(tonumber(ARGV[1]) + 1, tonumber(c[2] or 1))
local last = math.min(first + ARGV[2] - 1, tonumber(c[3] or 0))
if first > last then return {} end
local slots = {}
for i = first, last do slots[#slots + 1] = 'l' .. i end
return {tostring(first), unpack(redis.call('HMGET', KEYS[1], unpack(slots)))}
