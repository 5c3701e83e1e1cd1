-- Replace a note, if it is what the caller knows it to be.
--
-- KEYS  1 notes
-- ARGV  1 name  2 text, or '' to erase it  3 the text that is known; not given: none is
-- Reply 1  replaced; 0  it is another; nothing was changed

-- What is not there is false.
if redis.call('HGET', KEYS[1], ARGV[1]) ~= (ARGV[3] or false) then return 0 end
if ARGV[2] == '' then redis.call('HDEL', KEYS[1], ARGV[1]) else redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
return 1
