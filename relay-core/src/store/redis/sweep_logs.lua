-- Delete the entries of logs that have been kept for long enough.
--
-- KEYS  conversations; few, so that nobody else waits long for this script
-- ARGV  1 what was appended then or before is deleted
-- Reply how many entries were deleted

local BATCH = 100

local deleted = 0
for _, key in ipairs(KEYS) do
    local c = redis.call('HMGET', key, 'log_first', 'logged')
    local first, last = tonumber(c[1] or 1), tonumber(c[2] or 0)
    while first <= last do
        local slots, gone = {}, {}
        for i = first, math.min(first + BATCH - 1, last) do slots[#slots + 1] = 'l' .. i end
        for i, entry in ipairs(redis.call('HMGET', key, unpack(slots))) do
            if tonumber(string.match(entry or '0', '^%d+')) > tonumber(ARGV[1]) then break end
            gone[i] = slots[i]
        end
        if #gone == 0 then break end
        first = first + #gone
        deleted = deleted + #gone
        redis.call('HDEL', key, unpack(gone))
        redis.call('HSET', key, 'log_first', first)
        if #gone < #slots then break end
    end
end
return deleted
