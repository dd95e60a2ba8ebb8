-- What comes before decide.lua, which says what KEYS, ARGV, the reply and the bundle are: a subject's bundle and leases, as
-- tables, for whatever the lean path leaves. (The functions take nothing from outside: a local that is captured costs each
-- EVALSHA an allocation, though they are not called.)
local function make(redis_now)
  local values, byte, ceil, floor, text_of = unpack, string.byte, math.ceil, math.floor, string.format
  local call, unpack, pack, sub, find = redis.call, struct.unpack, struct.pack, string.sub, string.find
  local MARK, LONG, PLAIN, SPILLED, WRAP, MOST = 178, 1, 0, 255, 281474976710656, 281474976710655
  local SMALL, HOME, EXACT, SLACK, REAPED, HOUR, INLINE = 1024, 64, 1024, 256, 10000, 3600000, 16
  local CHECK, RESERVE, RENEW, RELEASE, USAGE, RESET, OLD = 1, 2, 3, 5, 6, 7, 8
  local HEADER, HEAD, FIRST = '<BBBI6I6I6I6', '<I4BI2I6I6I7I6I6', 28
  local now_ms = floor(redis_now / 1000)
  local function refuse() error('ERR the value is not a rate limit window', 0) end
  local function further(subject, suffix) return '{' .. subject.key .. '}:' .. suffix end
  local function window_key(subject, section) return further(subject, text_of('w:%08x', section.id)) end
  local function decimal(number) return text_of('%.0f', number) end

  -- The bundle

  local function load(key)
    local text = call('GET', key)
    local subject = {
      key = key, sections = {}, leases = {}, spilled = false, earliest = 0, freed = 0, expiry = 0, epoch = 0, dirty = false,
    }
    if not text then return subject end
    if #text < FIRST - 1 or byte(text) ~= MARK then refuse() end
    local _, count, leases, earliest, freed, expiry, epoch, at = unpack(HEADER, text)
    subject.earliest, subject.freed, subject.expiry, subject.epoch = earliest, freed, expiry, epoch
    for k = 1, count do
      if at + 37 > #text then refuse() end
      local id, form, length, total, held, newest, ends, oldest, body = unpack(HEAD, text, at)
      at = body + length
      if at > #text + 1 then refuse() end
      subject.sections[k] = {
        id = id, form = form, total = total, held = held, newest = newest, ends = ends, oldest = oldest,
        body = sub(text, body, at - 1),
      }
    end
    if leases == SPILLED then
      subject.spilled = true
    elseif leases > 0 then
      if at + 9 * leases > #text then refuse() end
      local ids_at = #text - 8 * leases
      local records = ids_at - 1 - unpack('<I2', text, ids_at - 1)
      if records ~= at then refuse() end
      for l = 1, leases do
        local lapses, parts, first = unpack('<I6B', text, at)
        at = first + 10 * parts
        subject.leases[l] = {
          id = sub(text, ids_at + 8 * l - 7, ids_at + 8 * l), lapses = lapses, parts = sub(text, first, at - 1),
        }
      end
      at = #text + 1
    end
    if at ~= #text + 1 then refuse() end
    return subject
  end

  local function store(subject)
    local sections, leases = subject.sections, subject.leases
    if subject.grown then
      -- Room is made for a new section by what holds nothing and has been empty for an hour: so far Redis's clock may
      -- step back.
      for k = #sections, 1, -1 do
        local section = sections[k]
        if section.ends + HOUR <= now_ms and section.held == 0 and not section.is_new then table.remove(sections, k) end
      end
    end
    if #sections == 0 and #leases == 0 and not subject.spilled and subject.epoch == 0 then
      return call('DEL', subject.key)
    end
    local parts, ids = {}, {}
    local count = subject.spilled and SPILLED or #leases
    parts[1] = pack(
      HEADER, MARK, #sections, count, subject.earliest, subject.freed, subject.expiry, subject.epoch)
    for _, section in ipairs(sections) do
      parts[#parts + 1] = pack(
        HEAD, section.id, section.form, #section.body, section.total, section.held, section.newest, section.ends,
        section.oldest)
      parts[#parts + 1] = section.body
    end
    local records = {}
    for l, lease in ipairs(leases) do
      records[l] = pack('<I6B', lease.lapses, #lease.parts / 10) .. lease.parts
      ids[l] = lease.id
    end
    if #leases > 0 then
      records = table.concat(records)
      parts[#parts + 1] = records .. pack('<I2', #records) .. table.concat(ids)
    end
    call('SET', subject.key, table.concat(parts), 'PXAT', decimal(subject.expiry))
  end

  local function section_of(subject, id, makes)
    local sections, place = subject.sections, 1
    while sections[place] and sections[place].id < id do place = place + 1 end
    local section = sections[place]
    if section and section.id == id then return section end
    if not makes then return end
    if #sections == 255 then error('ERR too many limits under one key', 0) end
    section = { id = id, form = PLAIN, total = 0, held = 0, newest = 0, ends = 0, oldest = 0, body = '', is_new = true }
    table.insert(sections, place, section)
    subject.grown = true
    return section
  end

  -- Leases

  local function each_part(parts, visit)
    for at = 1, #parts, 10 do visit(unpack('<I4I6', parts, at)) end
  end

  local function give_back(subject, parts)
    each_part(parts, function(id, amount)
      local section = section_of(subject, id)
      if section then section.held = math.max(0, section.held - amount) end
    end)
    subject.dirty = true
  end

  local function spill(subject)
    local leases, held = further(subject, 'leases'), further(subject, 'held')
    call('DEL', leases, held)
    for _, lease in ipairs(subject.leases) do
      call('ZADD', leases, decimal(lease.lapses), lease.id)
      call('HSET', held, lease.id, lease.parts)
    end
    subject.leases, subject.spilled, subject.dirty = {}, true, true
  end

  -- Back into the bundle, where few are left.
  local function gather(subject)
    local leases, held = further(subject, 'leases'), further(subject, 'held')
    if call('ZCARD', leases) * 2 > INLINE then return end
    local all = call('ZRANGE', leases, 0, -1, 'WITHSCORES')
    for n = 1, #all, 2 do
      local parts = call('HGET', held, all[n])
      if parts then
        table.insert(subject.leases, { id = all[n], lapses = tonumber(all[n + 1]), parts = parts })
      end
    end
    call('DEL', leases, held)
    subject.spilled, subject.dirty = false, true
  end

  -- What is known of a lease: lapses, parts, and its place among the inline ones.
  local function lease_of(subject, id)
    if not subject.spilled then
      for place, lease in ipairs(subject.leases) do
        if lease.id == id then return lease, place end
      end
      return
    end
    local parts = call('HGET', further(subject, 'held'), id)
    local lapses = parts and call('ZSCORE', further(subject, 'leases'), id)
    if lapses then return { id = id, lapses = tonumber(lapses), parts = parts } end
  end

  local function remove_lease(subject, lease, place)
    if lease.lapses > subject.freed then give_back(subject, lease.parts) end
    subject.dirty = true
    if place then
      table.remove(subject.leases, place)
      if #subject.leases == 0 then subject.earliest = 0 end
    else
      call('ZREM', further(subject, 'leases'), lease.id)
      call('HDEL', further(subject, 'held'), lease.id)
      gather(subject)
      if not subject.spilled and #subject.leases == 0 then subject.earliest = 0 end
    end
  end

  local function put_lease(subject, id, lapses, parts, known)
    local old, place = lease_of(subject, id)
    if not old and not subject.spilled and #subject.leases == INLINE then spill(subject) end
    subject.dirty = true
    if subject.earliest == 0 or lapses < subject.earliest then subject.earliest = lapses end
    subject.expiry = math.max(subject.expiry, lapses + known)
    if place then
      old.lapses = lapses
    elseif not subject.spilled then
      table.insert(subject.leases, { id = id, lapses = lapses, parts = parts })
    else
      local leases, held = further(subject, 'leases'), further(subject, 'held')
      call('ZADD', leases, decimal(lapses), id)
      call('HSET', held, id, parts)
      call('PEXPIREAT', leases, decimal(subject.expiry + HOUR))
      call('PEXPIREAT', held, decimal(subject.expiry + HOUR))
    end
  end

  -- Takes what lapsed leases hold out of the sums: all of it where none is left that stands, else of 1,000 leases, or of
  -- as many as lapsed in one millisecond. The next decision goes on with the others; one that would be denied goes on at
  -- once, up to REAPED of them. What is known of a lease stays for a while, for a settle that comes late.
  local function reap(subject, known)
    subject.dirty, subject.more = true, false
    if not subject.spilled then
      local kept, earliest = {}, 0
      for _, lease in ipairs(subject.leases) do
        if lease.lapses > subject.freed and lease.lapses <= now_ms then give_back(subject, lease.parts) end
        if lease.lapses + known > now_ms then table.insert(kept, lease) end
        if lease.lapses > now_ms and (earliest == 0 or lease.lapses < earliest) then earliest = lease.lapses end
      end
      subject.leases, subject.earliest, subject.freed = kept, earliest, math.max(subject.freed, now_ms)
      return
    end
    local leases, held = further(subject, 'leases'), further(subject, 'held')
    local old = call('ZRANGEBYSCORE', leases, '-inf', decimal(math.min(now_ms - known, subject.freed)), 'LIMIT', 0, 1000)
    if #old > 0 then
      call('ZREM', leases, values(old))
      call('HDEL', held, values(old))
    end
    local following = call('ZRANGEBYSCORE', leases, decimal(now_ms + 1), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    if not following[2] then
      for _, section in ipairs(subject.sections) do section.held = 0 end
      subject.freed, subject.earliest = math.max(subject.freed, now_ms), 0
      return
    end
    local from = '(' .. decimal(subject.freed)
    local lapsed = call('ZRANGEBYSCORE', leases, from, decimal(now_ms), 'WITHSCORES', 'LIMIT', 0, 1000)
    local count, last = #lapsed / 2, tonumber(lapsed[#lapsed])
    if count == 1000 then
      subject.more = true
      while count > 0 and tonumber(lapsed[2 * count]) == last do count = count - 1 end
      if count == 0 then
        lapsed = call('ZRANGEBYSCORE', leases, decimal(last), decimal(last), 'WITHSCORES')
        count = #lapsed / 2
      end
      last = tonumber(lapsed[2 * count])
    end
    for n = 1, count do
      local parts = call('HGET', held, lapsed[2 * n - 1])
      if parts then give_back(subject, parts) end
    end
    subject.reaped = (subject.reaped or 0) + count
    subject.freed = subject.more and last or math.max(subject.freed, now_ms)
    if not subject.more then subject.earliest = tonumber(following[2]) end
  end

  -- Ids of usage, and of leases whose subject's memory was lost

  -- Whether an id has been dealt with; if not, it has been from now on.
  local function notes(subject, id, known)
    local generation = floor(now_ms / known)
    local field, rest = sub(id, 1, 1), sub(id, 2, 12)
    local function holds(text)
      local at = text and find(text, rest, 1, true)
      while at and at % 11 ~= 1 do at = find(text, rest, at + 1, true) end
      return at
    end
    local key = further(subject, 'ids:' .. decimal(generation))
    local text = call('HGET', key, field)
    if holds(text) or holds(call('HGET', further(subject, 'ids:' .. decimal(generation - 1)), field)) then return true end
    call('HSET', key, field, (text or '') .. rest)
    call('PEXPIREAT', key, decimal((generation + 2) * known))
    return false
  end
