-- Changes one budget, its grants or one membership, all of it or nothing, and says what was there before and what is there
-- now.
--
-- KEYS[1]   the budget of the user or the group: a hash of created_at, updated_at, what has been set of group_id,
--           spend_limit_micros and limit:<name>, which is <amount>:<unit>, and grant:<name>, which is
--           <amount>:<end>:<unit>. One that sets nothing goes with the last of its grants.
-- KEYS[2]   the user's groups: a hash from UUID to created_at; for a group a key that never exists. For a grant with an id
--           what says that it was made: a string
-- KEYS[3]   the version of all budgets, and KEYS[4] the audit; both are left out in a cluster, where they are elsewhere
-- ARGV[1]   put, delete, join, leave, grant or revoke
-- ARGV[2]   the group that is joined or left, or to which the budget that is put is attributed; '' for none
-- ARGV[3]   the version from now on, one that was never before
-- ARGV[4]   the channel, and ARGV[5] the message, to which the versions before and from now on are added
-- ARGV[6]   how many entries the audit keeps, more or less
-- ARGV[7]   how many of the following belong to the audit's entry
-- ARGV[8..] these, as fields and values; then,
--           for put, the fields of the budget;
--           for join, how many groups a user may have;
--           for grant, the limit, its unit, the amount, the most that may be granted of a limit, how many limits may have a grant, for
--           how long the id is known (0: it has none), how long the grant lasts, and where that is 0 instants of which the
--           first that is to come ends it;
--           for revoke, the limit, '' for all
--
-- Times are milliseconds since 1970 by Redis's clock.
-- Replies { 'not_member' }, { 'too_many' } or { 'too_late' } where nothing was changed, else { 'done', before, after,
-- removed }: each an array of fields and values, empty for none. For join and leave the first two are about the
-- membership, and the third is the override that went with it. A grant whose id is known changes nothing, and is
-- 'repeated' in place of 'done'. Grants that have ended are not told, and go at the next write.

local operation, group = ARGV[1], ARGV[2]
local function value(fields, name)
    for index = 1, #fields, 2 do
        if fields[index] == name then return fields[index + 1] end
    end
end
local function append(fields, more)
    for _, text in ipairs(more) do fields[#fields + 1] = text end
    return fields
end
local function decimal(number) return string.format('%.0f', number) end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local budget = redis.call('HGETALL', KEYS[1])
local groups = operation == 'grant' and {} or redis.call('HGETALL', KEYS[2])
local joined = value(groups, group)
local rest = 8 + tonumber(ARGV[7])

-- The budget's parts: when it was made and changed, what it sets, and the grants that have not ended.
local times, terms, grants = {}, {}, {}
for index = 1, #budget, 2 do
    local name, text = budget[index], budget[index + 1]
    if string.sub(name, 1, 6) == 'grant:' then
        local amount, ends, unit = string.match(text, '^(%d+):(%d+):?([a-z_.]*)$')
        if ends and tonumber(ends) > now then
            grants[#grants + 1] = { name = name, amount = tonumber(amount), ends = tonumber(ends), unit = unit }
        end
    else
        append((name == 'created_at' or name == 'updated_at') and times or terms, { name, text })
    end
end

-- The fields of a budget, and the instant when the last of its grants has ended.
local function whole(times, terms)
    local fields, last = append(append({}, times), terms), 0
    for _, grant in ipairs(grants) do
        local unit = grant.unit == '' and '' or ':' .. grant.unit
        append(fields, { grant.name, decimal(grant.amount) .. ':' .. decimal(grant.ends) .. unit })
        last = math.max(last, grant.ends)
    end
    return fields, last
end

-- Keeps these terms and the grants, and gives the fields that are kept.
local function keep(terms)
    redis.call('DEL', KEYS[1])
    local is_bare = operation ~= 'put' and #terms == 0
    if is_bare and #grants == 0 then return {} end
    -- A clock that was set back must not show in the order of the two times.
    local updated = math.max(now, tonumber(value(times, 'updated_at') or 0))
    local created = value(times, 'created_at') or decimal(now)
    local fields, last = whole({ 'created_at', created, 'updated_at', decimal(updated) }, terms)
    redis.call('HSET', KEYS[1], unpack(fields))
    if is_bare then redis.call('PEXPIREAT', KEYS[1], decimal(last)) end
    return fields
end

local verdict, before, after, removed = 'done', whole(times, terms), {}, {}
if operation == 'put' then
    if group ~= '' and not joined then return { 'not_member' } end
    after = keep({ unpack(ARGV, rest) })
elseif operation == 'delete' then
    after = keep({})
elseif operation == 'grant' then
    local name, unit = 'grant:' .. ARGV[rest], ARGV[rest + 1]
    local amount, most = tonumber(ARGV[rest + 2]), tonumber(ARGV[rest + 3])
    local known, length = tonumber(ARGV[rest + 5]), tonumber(ARGV[rest + 6])
    if known > 0 and redis.call('EXISTS', KEYS[2]) == 1 then
        verdict, after = 'repeated', before
    else
        local ends, grant = length > 0 and now + length or nil, nil
        for index = rest + 7, #ARGV do
            if not ends and tonumber(ARGV[index]) > now then ends = tonumber(ARGV[index]) end
        end
        if not ends then return { 'too_late' } end
        for _, other in ipairs(grants) do
            if other.name == name then grant = other end
        end
        if not grant then
            if #grants >= tonumber(ARGV[rest + 4]) then return { 'too_many' } end
            grant = { name = name, amount = 0, ends = ends, unit = unit }
            grants[#grants + 1] = grant
        end
        -- What was granted in another unit is nothing in this one.
        if grant.unit ~= '' and grant.unit ~= unit then grant.amount, grant.ends = 0, ends end
        grant.unit = unit
        grant.amount, grant.ends = math.min(grant.amount + amount, most), math.max(grant.ends, ends)
        if known > 0 then redis.call('SET', KEYS[2], '', 'PX', decimal(known)) end
        after = keep(terms)
    end
elseif operation == 'revoke' then
    local others = {}
    for _, grant in ipairs(grants) do
        if ARGV[rest] ~= '' and grant.name ~= 'grant:' .. ARGV[rest] then others[#others + 1] = grant end
    end
    if #others < #grants then
        grants = others
        after = keep(terms)
    else
        before = {}
    end
else
    before = joined and { 'created_at', joined } or {}
    if operation == 'join' then
        if not joined and #groups / 2 >= tonumber(ARGV[rest]) then return { 'too_many' } end
        joined = joined or decimal(now)
        redis.call('HSET', KEYS[2], group, joined)
        after = { 'created_at', joined }
    else
        redis.call('HDEL', KEYS[2], group)
        if value(terms, 'group_id') == group then
            removed = append(append({}, times), terms)
            keep({})
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
return { verdict, before, after, removed }
