-- Changes one budget or one membership, all of it or nothing, and says what was there before and what is there now.
--
-- KEYS[1]   the budget of the user or the group: a hash of created_at, updated_at and what has been set of group_id,
--           spend_limit_micros and limit:<name>
-- KEYS[2]   the user's groups: a hash from UUID to created_at; for a group a key that never exists
-- KEYS[3]   the version of all budgets, and KEYS[4] the audit; both are left out in a cluster, where they are elsewhere
-- ARGV[1]   put, delete, join or leave
-- ARGV[2]   the group that is joined or left, or to which the budget that is put is attributed; '' for none
-- ARGV[3]   the version from now on, one that was never before
-- ARGV[4]   the channel, and ARGV[5] the message, to which the versions before and from now on are added
-- ARGV[6]   how many entries the audit keeps, more or less
-- ARGV[7]   how many of the following belong to the audit's entry
-- ARGV[8..] these, as fields and values; then, for put, the fields of the budget, or, for join, how many groups a user
--           may have
--
-- Times are milliseconds since 1970 by Redis's clock.
-- Replies { 'not_member' } or { 'too_many' } where nothing was changed, else { 'done', before, after, removed }: each an
-- array of fields and values, empty for none. For join and leave the first two are about the membership, and the third
-- is the override that went with it.

local operation, group = ARGV[1], ARGV[2]
local function value(fields, name)
    for index = 1, #fields, 2 do
        if fields[index] == name then return fields[index + 1] end
    end
end
local function decimal(number) return string.format('%.0f', number) end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local budget = redis.call('HGETALL', KEYS[1])
local groups = redis.call('HGETALL', KEYS[2])
local joined = value(groups, group)
local rest = 8 + tonumber(ARGV[7])

local before, after, removed = budget, {}, {}
if operation == 'put' then
    if group ~= '' and not joined then return { 'not_member' } end
    local created = value(budget, 'created_at') or decimal(now)
    -- A clock that was set back must not show in the order of the two times.
    local updated = math.max(now, tonumber(value(budget, 'updated_at') or 0))
    after = { 'created_at', created, 'updated_at', decimal(updated), unpack(ARGV, rest) }
    redis.call('DEL', KEYS[1])
    redis.call('HSET', KEYS[1], unpack(after))
elseif operation == 'delete' then
    redis.call('DEL', KEYS[1])
else
    before = joined and { 'created_at', joined } or {}
    if operation == 'join' then
        if not joined and #groups / 2 >= tonumber(ARGV[rest]) then return { 'too_many' } end
        joined = joined or decimal(now)
        redis.call('HSET', KEYS[2], group, joined)
        after = { 'created_at', joined }
    else
        redis.call('HDEL', KEYS[2], group)
        if value(budget, 'group_id') == group then
            removed = budget
            redis.call('DEL', KEYS[1])
        end
    end
end

if KEYS[3] then
    local version = redis.call('GET', KEYS[3]) or '-'
    redis.call('SET', KEYS[3], ARGV[3])
    -- Where a service forbids it, the version still tells.
    redis.pcall('PUBLISH', ARGV[4], ARGV[5] .. ' ' .. version .. ' ' .. ARGV[3])
    if #before + #after > 0 then
        local entry = { unpack(ARGV, 8, rest - 1) }
        for index, fields in ipairs({ before, after, removed }) do
            entry[#entry + 1] = ({ 'before', 'after', 'removed' })[index]
            entry[#entry + 1] = table.concat(fields, ' ')
        end
        redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[6], '*', unpack(entry))
    end
end
return { 'done', before, after, removed }
