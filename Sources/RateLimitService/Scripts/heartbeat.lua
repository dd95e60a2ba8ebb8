-- Takes note that time has passed in these data, so that data which go back are found out; and tries each command that a
-- decision may need, so that one that is refused is found out before anybody needs it.
--
-- KEYS[1]    the heartbeat: the latest time in milliseconds that any daemon has written here
-- KEYS[2..4] a string, a hash and a sorted set on which the commands are tried; they are gone a second later
-- KEYS[5..]  windows that were reset lately: removed where the data have gone back, since the reset may be lost
-- ARGV[1]    the latest heartbeat that the caller has seen; 0 for none
-- ARGV[2]    none, checks or calls: whose commands are tried, those that a check needs of decide.lua, or all
--
-- Replies { the heartbeat before, 0 where there was none; the heartbeat now; ARGV[1] again; the error of the first
-- command that is refused, '' where none is }.

local before = tonumber(redis.call('GET', KEYS[1]) or 0)
local seen = tonumber(ARGV[1])
if before > 0 and before < seen then
    for index = 5, #KEYS do redis.call('DEL', KEYS[index]) end
end
local time = redis.call('TIME')
local now = math.max(time[1] * 1000 + math.floor(time[2] / 1000), before, seen)
redis.call('SET', KEYS[1], string.format('%.0f', now), 'EX', 86400)

local refusal = ''
local function try(...)
    local reply = redis.pcall(...)
    if refusal == '' and type(reply) == 'table' and reply.err then refusal = reply.err end
end
if ARGV[2] ~= 'none' then
    local text, ends = KEYS[2], string.format('%d', time[1] * 1000 + 1000)
    try('SET', text, 'window', 'PXAT', ends)
    try('APPEND', text, '.')
    try('GETRANGE', text, '0', '0')
    try('STRLEN', text)
    try('EXISTS', text)
    try('GET', text)
    try('PEXPIREAT', text, ends)
    try('DEL', text)
    if ARGV[2] == 'calls' then
        local hash, set = KEYS[3], KEYS[4]
        try('HSET', hash, 'lease', '1', 'other', '1')
        try('PEXPIREAT', hash, ends)
        try('HGET', hash, 'lease')
        try('HLEN', hash)
        try('HGETALL', hash)
        try('HDEL', hash, 'lease')
        try('ZADD', set, '1', 'lease', '2', 'other')
        try('PEXPIREAT', set, ends)
        try('ZCARD', set)
        try('ZSCORE', set, 'lease')
        try('ZRANGE', set, '0', '0')
        try('ZRANGEBYSCORE', set, '1', '1')
        try('ZREM', set, 'lease')
        try('RENAME', set, set)
        try('DEL', set)
    end
    if string.find(refusal, 'WRONGTYPE', 1, true) then
        -- Somebody else has written there.
        for index = 2, 4 do redis.pcall('DEL', KEYS[index]) end
        refusal = ''
    end
end
return { before, now, seen, refusal }
