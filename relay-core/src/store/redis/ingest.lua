-- Append an event to a conversation's inbox, once, and take the lease if nobody has it.
--
-- KEYS  1 conversation  2 seen  3 due  4 alarm
-- ARGV  1 conversation id  2 event id  3 event  4 node  5 nonce  6 now  7 lease in ms  8 format  9 inbox_max
-- Reply {'newer', format}  written by a newer program; nothing was changed
--       {'duplicate'}      the event id was seen before; nothing was changed
--       {'full'}           the inbox is full; nothing was changed
--       {'queued'}         appended; somebody else has the lease
--       {'held', fence, abandoned, state, outbox, event...}  appended; the caller has the lease; abandoned is '1' where
--       the holder before did not give it back, or that is no longer known
-- Again with the same nonce: the same reply, nothing more is changed.

-- Alarms ring a little late: whoever set a deadline acts on it by itself, and the others then find nothing to do.
local ALARM_DELAY_MS = 100

local node, nonce, now = ARGV[4], ARGV[5], tonumber(ARGV[6])
local c = redis.call('HMGET', KEYS[1],
    'format', 'holder', 'due_at', 'fence', 'nonce', 'first', 'next', 'state', 'outbox')
local format, holder, due_at = tonumber(c[1] or 0), c[2] or '', tonumber(c[3] or '')
local first, next_ = tonumber(c[6] or 0), tonumber(c[7] or 0)

if format > tonumber(ARGV[8]) then return {'newer', c[1]} end

local function held(fence, abandoned, last)
    local reply = {'held', fence, abandoned and '1' or '0', c[8] or '', c[9] or ''}
    local slots = {}
    for i = first, next_ - 1 do slots[#slots + 1] = 'e' .. i end
    if #slots > 0 then
        for _, event in ipairs(redis.call('HMGET', KEYS[1], unpack(slots))) do reply[#reply + 1] = event end
    end
    reply[#reply + 1] = last
    return reply
end

if c[5] == nonce and holder == node then return held(tonumber(c[4]), true) end
if next_ - first >= tonumber(ARGV[9]) then
    return {redis.call('ZSCORE', KEYS[2], ARGV[2]) and 'duplicate' or 'full'}
end
if redis.call('ZADD', KEYS[2], 'NX', now, ARGV[2]) == 0 then return {'duplicate'} end
if holder ~= '' and due_at > now then
    redis.call('HSET', KEYS[1], 'e' .. next_, ARGV[3], 'next', next_ + 1)
    return {'queued'}
end

local fence, until_ = math.max(tonumber(c[4] or 0) + 1, now), now + tonumber(ARGV[7])
redis.call('HSET', KEYS[1], 'e' .. next_, ARGV[3], 'first', first, 'next', next_ + 1,
    'holder', node, 'due_at', until_, 'fence', fence, 'nonce', nonce)
redis.call('ZADD', KEYS[3], until_, ARGV[1])
redis.call('SET', KEYS[4], '', 'PX', ARGV[7] + ALARM_DELAY_MS)
return held(fence, holder ~= '', ARGV[3])
