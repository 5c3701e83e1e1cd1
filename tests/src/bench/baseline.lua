-- What is least for a durable, deduplicated mailbox: one event appended once, and the lease for whoever is first.
-- KEYS: 1 conversation hash, 2 inbox list, 3 seen zset, 4 due zset
-- ARGV: 1 message id, 2 event, 3 node, 4 now (ms), 5 lease (ms), 6 conversation
-- Replies: {'duplicate'} | {'queued'} | {'held', fence, state or false, events}
local held = redis.call('HMGET', KEYS[1], 'holder', 'due_at', 'fence', 'state')
if redis.call('ZADD', KEYS[3], 'NX', ARGV[4], ARGV[1]) == 0 then return { 'duplicate' } end
redis.call('RPUSH', KEYS[2], ARGV[2])
if held[1] and tonumber(held[2]) > tonumber(ARGV[4]) then return { 'queued' } end
local fence = tonumber(held[3] or '0') + 1
local due_at = tonumber(ARGV[4]) + tonumber(ARGV[5])
redis.call('HSET', KEYS[1], 'holder', ARGV[3], 'due_at', due_at, 'fence', fence)
redis.call('ZADD', KEYS[4], due_at, ARGV[6])
return { 'held', fence, held[4], redis.call('LRANGE', KEYS[2], 0, -1) }
