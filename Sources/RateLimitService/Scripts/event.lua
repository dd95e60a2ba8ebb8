-- Writes events behind all others into their stream, together and once, however often it is asked to.
--
-- KEYS[1]  the stream
-- KEYS[2]  what says that these were written, in the same slot: a string
-- ARGV[1]  how many entries the stream keeps, more or less
-- ARGV[2]  for how long it is known that these were written, in milliseconds
-- ARGV[3]  how many fields with their values the first of them has; then these, and so on for the others
--
-- Each entry has the field `previous` besides: the id of the entry before it, '' for none. So whoever reads on from an
-- entry can tell that others behind it have gone.
-- Replies how many were written: all, or 0 where they had been.

if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local previous = last and last[1] or ''
local written, place = 0, 3
while place <= #ARGV do
    local count = 2 * tonumber(ARGV[place])
    local fields = { 'previous', previous }
    for index = place + 1, place + count do fields[#fields + 1] = ARGV[index] end
    previous = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', unpack(fields))
    written, place = written + 1, place + count + 1
end
redis.call('SET', KEYS[2], '', 'PX', ARGV[2])
return written
