-- Take the lease of a conversation that is due, or whose VM has published something that nobody holds it to read.
--
-- KEYS  1 conversation  2 due  3 alarm  4 reports
-- ARGV  1 conversation id  2 node  3 nonce  4 now  5 lease in ms  6 format  7 pause for the unreadable in ms
--       8 reports_max  9 report_bytes_max
-- Reply {'newer', format}  written by a newer program; put off, otherwise nothing was changed
--       {'taken'}          somebody has a lease that has not run out
--       {'notdue'}         it is not due, or not known
--       {'held', fence, abandoned, state, outbox, event...}  the caller has the lease; abandoned is '1' where the holder
--       before did not give it back, or that is no longer known
-- Again with the same nonce: the same reply, nothing more is changed.

-- Alarms ring a little late: whoever set a deadline acts on it by itself, and the others then find nothing to do.
local ALARM_DELAY_MS = 100

local id, node, nonce, now = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local c = redis.call('HMGET', KEYS[1],
    'format', 'holder', 'due_at', 'fence', 'nonce', 'first', 'next', 'state', 'outbox')
local holder, due_at, first, next_ = c[2] or '', tonumber(c[3] or ''), tonumber(c[6] or 0), tonumber(c[7] or 0)

-- Whoever asks too early makes sure that somebody asks again.
local function later(reply)
    if due_at then
        redis.call('ZADD', KEYS[2], due_at, id)
        redis.call('SET', KEYS[3], '', 'PX', math.max(0, due_at - now) + ALARM_DELAY_MS)
    end
    return {reply}
end

local function held(fence, abandoned)
    local reply, slots = {'held', fence, abandoned and '1' or '0', c[8] or '', c[9] or ''}, {}
    for i = first, next_ - 1 do slots[#slots + 1] = 'e' .. i end
    if #slots > 0 then
        for _, event in ipairs(redis.call('HMGET', KEYS[1], unpack(slots))) do reply[#reply + 1] = event end
    end
    return reply
end

if not c[4] then
    -- Nobody ever wrote in it: what a VM claims about it is not kept.
    redis.call('DEL', KEYS[4])
    redis.call('ZREM', KEYS[2], id)
    return {'notdue'}
end
if tonumber(c[1] or 0) > tonumber(ARGV[6]) then
    redis.call('ZADD', KEYS[2], now + tonumber(ARGV[7]), id)
    return {'newer', c[1]}
end
if c[5] == nonce and holder == node then return held(tonumber(c[4]), true) end
if holder ~= '' and due_at > now then return later('taken') end
-- Few and small enough that nobody else waits long for this script and its reply.
local reports = {}
if first == next_ then reports = redis.call('LRANGE', KEYS[4], 0, ARGV[8] - 1) end
if (not due_at or due_at > now) and #reports == 0 then return later('notdue') end

local fence, until_ = math.max(tonumber(c[4]) + 1, now), now + tonumber(ARGV[5])
local set = {'holder', node, 'due_at', until_, 'fence', fence, 'nonce', nonce}
local bytes, moved = 0, 0
for _, report in ipairs(reports) do
    if #report > tonumber(ARGV[9]) then report = '' end
    bytes = bytes + #report
    if bytes > tonumber(ARGV[9]) * 4 and moved > 0 then break end
    moved = moved + 1
    set[#set + 1] = 'e' .. next_
    set[#set + 1] = 'r' .. report
    next_ = next_ + 1
end
if moved > 0 then redis.call('LTRIM', KEYS[4], moved, -1) end
set[#set + 1] = 'next'
set[#set + 1] = next_
redis.call('HSET', KEYS[1], unpack(set))
redis.call('ZADD', KEYS[2], until_, id)
redis.call('SET', KEYS[3], '', 'PX', ARGV[5] + ALARM_DELAY_MS)
return held(fence, holder ~= '')
