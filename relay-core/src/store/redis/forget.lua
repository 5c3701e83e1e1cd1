-- Erase a conversation.
--
-- KEYS  1 conversation  2 due  3 alarm  4 reports  5 feed  6 keys of the feed's entries  7 dead letters  8 notes  9 blobs
--       then the blobs to erase
-- ARGV  1 conversation id  2 count, and so many dead letters as they stand in the set
--       then count, and so many names of notes
--       then the ids of the blobs
-- Reply 1  erased; 0  there was no such conversation; what belongs to it is erased all the same

local at = 2
local function each(call)
    local count = tonumber(ARGV[at])
    for i = at + 1, at + count do call(ARGV[i]) end
    at = at + count + 1
end
each(function(letter) redis.call('ZREM', KEYS[7], letter) end)
each(function(note) redis.call('HDEL', KEYS[8], note) end)
for i = 10, #KEYS do
    redis.call('ZREM', KEYS[9], ARGV[at + i - 10])
    redis.call('DEL', KEYS[i])
end
redis.call('DEL', KEYS[3], KEYS[4], KEYS[5], KEYS[6])
redis.call('ZREM', KEYS[2], ARGV[1], 'busy:' .. ARGV[1])
return redis.call('DEL', KEYS[1])
