-- Takes note that time has passed in these data, so that data which go back are found out.
--
-- KEYS[1]    the beat: the latest time in milliseconds that any daemon has written here
-- KEYS[2..]  windows that were reset lately: removed where the data have gone back, since the reset may be lost
-- ARGV[1]    the latest beat that the caller has seen; 0 for none
--
-- Replies { the beat before, 0 where there was none; the beat now; ARGV[1] again }.

local before = tonumber(redis.call('GET', KEYS[1]) or 0)
local seen = tonumber(ARGV[1])
if before > 0 and before < seen then
    for index = 2, #KEYS do redis.call('DEL', KEYS[index]) end
end
local time = redis.call('TIME')
local now = math.max(time[1] * 1000 + math.floor(time[2] / 1000), before, seen)
redis.call('SET', KEYS[1], string.format('%.0f', now), 'EX', 86400)
return { before, now, seen }
