-- Apply one turn's result: all of it, or, under a stale fence, nothing.
--
-- KEYS  1 conversation  2 due  3 alarm  4 reports  5 dead letters  6 letters
-- ARGV  1 conversation id  2 fence  3 nonce  4 now  5 lease in ms  6 format  7 state  8 consumed
--       9 '1' to release  10 deadline or ''  11 reports_max  12 report_bytes_max
--       13 the nonce of the call before it under the same lease
--       14 with a release: what goes on now as a score, '-' when nothing does any more, or '' when that is as before
--       15 log_max  16 how many entries of the log make room at once  17 channel that tells followers of logs
--       18 count, and so many places of effects that leave the outbox
--       then count, and so many pairs of place and effect to append to it
--       then count, and so many dead letters
--       then count, and so many entries to append to the log, at most log_max but for the room
-- Reply {'fenced'}          the lease is not the caller's, or a later commit was carried out; nothing was changed
--       {'released'}        the lease is given back, the conversation is due at the deadline
--       {'held', event...}  the lease is extended; these events wait
-- Again with the same nonce: the same reply, nothing more is changed.

-- Alarms ring a little late: whoever set a deadline acts on it by itself, and the others then find nothing to do.
local ALARM_DELAY_MS = 100

local nonce, now = ARGV[3], tonumber(ARGV[4])
local c = redis.call('HMGET', KEYS[1], 'fence', 'holder', 'nonce', 'first', 'next', 'outbox', 'waiting',
    'log_first', 'logged', 'watched')
local repeated = c[3] == nonce
if c[1] ~= ARGV[2] or not (repeated or c[3] == ARGV[13]) then return {'fenced'} end
if (c[2] or '') == '' then return {repeated and 'released' or 'fenced'} end

local first, next_ = tonumber(c[4]), tonumber(c[5])
local set = {'nonce', nonce}
local function put(field, value) set[#set + 1] = field; set[#set + 1] = value end

-- The outbox is packed into one field, as 'place:length:effect' again and again.
local function without(outbox, gone)
    local kept, at = {}, 1
    while at <= #outbox do
        local place_end = string.find(outbox, ':', at, true)
        local length_end = string.find(outbox, ':', place_end + 1, true)
        local stop = length_end + tonumber(string.sub(outbox, place_end + 1, length_end - 1))
        if not gone[string.sub(outbox, at, place_end - 1)] then kept[#kept + 1] = string.sub(outbox, at, stop) end
        at = stop + 1
    end
    return kept
end

if not repeated then
    local at = 18
    local function list()
        local from, count = at + 1, tonumber(ARGV[at])
        at = from + count
        return from, at - 1
    end
    local gone, from, to = {}, list()
    for i = from, to do gone[ARGV[i]] = true end
    local acked = to >= from
    from, to = list()
    if acked or to >= from then
        local outbox = without(c[6] or '', gone)
        for i = from, to, 2 do outbox[#outbox + 1] = ARGV[i] .. ':' .. #ARGV[i + 1] .. ':' .. ARGV[i + 1] end
        put('outbox', table.concat(outbox))
        put('waiting', #outbox)
    end
    from, to = list()
    for i = from, to do
        local letter = redis.call('INCR', KEYS[6])
        redis.call('ZADD', KEYS[5], letter, letter .. ':' .. ARGV[i])
    end
    from, to = list()
    if to >= from then
        -- The log is in fields of its own, from 'log_first' to 'logged': appending to it is no command more.
        local log_first, logged = tonumber(c[8] or 1), tonumber(c[9] or 0)
        for i = from, to do
            logged = logged + 1
            put('l' .. logged, ARGV[4] .. ':' .. ARGV[i])
        end
        put('logged', logged)
        if logged - log_first >= tonumber(ARGV[15]) then
            local slots, keep_from = {}, logged - ARGV[15] + ARGV[16] + 1
            for i = log_first, keep_from - 1 do slots[#slots + 1] = 'l' .. i end
            redis.call('HDEL', KEYS[1], unpack(slots))
            put('log_first', keep_from)
        end
        -- Whoever follows asks to be told each time, so that it costs nothing where nobody does.
        if c[10] == '1' then
            put('watched', '')
            redis.call('PUBLISH', ARGV[17], ARGV[1])
        end
    end

    local consumed = math.min(tonumber(ARGV[8]), next_ - first)
    if consumed == 1 and first == 0 and next_ == 1 then
        -- The usual case, one event alone: its slot is blanked and used again, which is a command less than deleting it.
        put('e0', '')
        next_ = 0
    elseif consumed > 0 then
        local slots = {}
        for i = first, first + consumed - 1 do slots[#slots + 1] = 'e' .. i end
        redis.call('HDEL', KEYS[1], unpack(slots))
        first = first + consumed
        if first == next_ then first, next_ = 0, 0 end
    end
    put('first', first)
    put('state', ARGV[7])
    put('format', ARGV[6])
end

local waiting = {}
if first < next_ then
    local slots = {}
    for i = first, next_ - 1 do slots[#slots + 1] = 'e' .. i end
    waiting = redis.call('HMGET', KEYS[1], unpack(slots))
end
if ARGV[9] == '1' and #waiting == 0 then
    -- What a VM published counts as part of the inbox from here on.
    local bytes = 0
    for _, report in ipairs(redis.call('LRANGE', KEYS[4], 0, ARGV[11] - 1)) do
        if #report > tonumber(ARGV[12]) then report = '' end
        bytes = bytes + #report
        if bytes > tonumber(ARGV[12]) * 4 and #waiting > 0 then break end
        put('e' .. next_, 'r' .. report)
        waiting[#waiting + 1] = 'r' .. report
        next_ = next_ + 1
    end
    if #waiting > 0 then redis.call('LTRIM', KEYS[4], #waiting, -1) end
end
put('next', next_)

if ARGV[9] == '1' and #waiting == 0 then
    put('holder', '')
    put('due_at', ARGV[10])
    redis.call('HSET', KEYS[1], unpack(set))
    -- What goes on is in the set of what is due, below all instants, so that marking it is no command more.
    local due, mark = {ARGV[10] == '' and '+inf' or ARGV[10], ARGV[1]}, 'busy:' .. ARGV[1]
    if ARGV[14] == '-' then
        redis.call('ZREM', KEYS[2], mark)
    elseif ARGV[14] ~= '' then
        due[3], due[4] = ARGV[14], mark
    end
    redis.call('ZADD', KEYS[2], unpack(due))
    if ARGV[10] == '' then
        redis.call('DEL', KEYS[3])
    else
        redis.call('SET', KEYS[3], '', 'PX', math.max(0, ARGV[10] - now) + ALARM_DELAY_MS)
    end
    return {'released'}
end
-- 'due' and the alarm keep the lease's first end: whoever looks then puts them right, and that is seldom.
put('due_at', now + tonumber(ARGV[5]))
redis.call('HSET', KEYS[1], unpack(set))
return {'held', unpack(waiting)}
