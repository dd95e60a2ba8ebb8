-- The first part of the script that decides; decide.lua says what KEYS, ARGV and the reply are.
--
-- A subject's state is one string under its key, the bundle, little endian. It begins with a header of 27 bytes:
--   mark B (179), sections B, leases B, the time in milliseconds before which no lease lapses I6 (0: none holds
--   anything), the latest lapse whose leases hold nothing any more I6, when the key expires I6, and the epoch I6: when
--   the subject's memory of leases began (0: it has not)
-- Where it has, that memory follows, 13 bytes and more:
--   gaps B, when the latest lease was given I6, the server that gave it I6 (what tells its process from others); and for
--   each gap, up to GAPS of them, two instants between which no lease was given, I6 each
-- Then come the sections, by ascending limit: a head of 38 bytes each, and the body.
--   limit I4, form B, length I2 of the body, total I6 of what has been charged, held I6 by leases, newest I7 (the time
--   of the last charge in microseconds), ends I6 in milliseconds, oldest I6 (the first entry's time, modulo 2^48)
--     form 8, 12  sliding: entries of time I6 (microseconds modulo 2^48) and cost I2 or I6, oldest first
--     form 1      sliding, long: size B, dead I2, merged I2, live I2 of the entries in {key}:w:<limit in hex>.
--                 Dead ones have left the window and still stand at the front. Merged ones, next, may each stand
--                 for several neighbours, at the time of the latest.
--     form 0      no body: what a calendar has counted of the period of `newest`, or a lifetime since it began, and as
--                 `oldest` the most that it had counted before a refund, where that is more; or a concurrency limit
-- Last come the leases, where there are any:
--   for each a record of lapses I6 in milliseconds, parts B, and for each part limit I4 and amount I6, of which
--   2^48 - 1 says that a shadow limit did not admit the lease; the length I2 of the records together; the leases' ids,
--   8 bytes each. More than INLINE leases (their number is 255) are in {key}:leases, a sorted set of ids by lapse, and
--   {key}:held, a hash of their parts.
--
-- {key}: stands for the key in braces, and for one that begins with a brace for itself and the second brace: what belongs
-- to a subject is in its slot. Such a key is that of one value of what a user's calls say (decide-values.lua).
--
-- So a window says under any definition what it counts: how long it slides, or which period it is, are of the plan
-- alone, and may be others each time. A lease that was ended leaves nothing. The epoch says of one that is not there
-- whether it was ended, or forgotten with all else; so the key lives until nobody may ask about a lease any more.
--
-- A failover, or a restart, may lose the latest leases and leave the bundle as it was before. A lease that is not there
-- and was given later than the latest that is known was lost so. When the next lease is given, by another server than the
-- latest one, the time between the two is a gap, in which a lease that was lost still shows. It is true of any two leases
-- that follow one another that none was given between them: so no lease that was ended is ever taken for lost.
--
-- Everything that the hot path leaves is decided by the functions that this one makes, a closure for each: it is called
-- at most once in a batch. They take nothing from outside: a local that is captured would cost each EVALSHA an
-- allocation.
local function make(redis_now)
  local values, byte, ceil, floor, text_of = unpack, string.byte, math.ceil, math.floor, string.format
  local call, unpack, pack, sub, find = redis.call, struct.unpack, struct.pack, string.sub, string.find
  local MARK, LONG, PLAIN, SPILLED, WRAP, MOST, BRACE = 179, 1, 0, 255, 281474976710656, 281474976710655, 123
  local SMALL, HOME, EXACT, SLACK, INLINE, REAPED, HOUR = 1024, 64, 1024, 256, 16, 10000, 3600000
  local LOOKS, VALUES, GAPS, CANDIDATES = 16, 10000, 8, 16
  local CHECK, RESERVE, RENEW, SETTLE, RELEASE, USAGE, RESET, REFUND = 1, 2, 3, 4, 5, 6, 7, 8
  local SLIDING, CALENDAR, CONCURRENCY, LIFETIME = 0, 1, 2, 3
  local DONE, FOR_GOOD, AT_CAPACITY, NO_LEASE, REPEATED, TOO_LATE = 0, 2, 3, 4, 5, 6
  local HEADER, HEADER_LENGTH, HEAD, HEAD_LENGTH = '<BBBI6I6I6I6', 27, '<I4BI2I6I6I7I6I6', 38
  local MEMORY = '<BI6I6'
  local now_ms = floor(redis_now / 1000)
  -- Where a function of C lies differs from process to process: the kernel puts each one's memory elsewhere.
  local server = tonumber(sub(tostring(call), -11), 16) or 0
  local function refuse() error('ERR the value is not a rate limit window', 0) end
  local function further(subject, suffix)
    local brace = byte(subject.key) == BRACE and '' or '{'
    return brace .. subject.key .. '}:' .. suffix
  end
  local function window_key(subject, section) return further(subject, text_of('w:%08x', section.limit)) end
  local function decimal(number) return text_of('%.0f', number) end

  -- Fails where the bundle has moved to this node of a cluster and a key beside it has not. A command with one key finds
  -- none there, as if it had been evicted; one with several is refused.
  local function must_have_arrived(subject, ...)
    local reply = redis.pcall('EXISTS', subject.key, ...)
    if type(reply) == 'table' and find(reply.err, 'non local', 1, true) then error(reply.err, 0) end
  end

  -- The bundle

  local function load_leases(subject, text, count, at)
    if at + 9 * count > #text then refuse() end
    local ids_at = #text + 1 - 8 * count
    if ids_at - 2 - unpack('<I2', text, ids_at - 2) ~= at then refuse() end
    for l = 0, count - 1 do
      local lapses, parts, first = unpack('<I6B', text, at)
      at = first + 10 * parts
      subject.leases[l + 1] = {
        id = sub(text, ids_at + 8 * l, ids_at + 8 * l + 7), lapses = lapses, parts = sub(text, first, at - 1),
      }
    end
    if at ~= ids_at - 2 then refuse() end
  end

  local function load(key)
    local text = call('GET', key)
    local subject = {
      key = key, sections = {}, leases = {}, is_spilled = false, is_dirty = false, earliest = 0, freed = 0, expiry = 0,
      epoch = 0, latest = 0, server = 0, gaps = '', is_new = not text, stood_until = 0,
    }
    if not text then return subject end
    if #text < HEADER_LENGTH or byte(text) ~= MARK then refuse() end
    local _, count, leases, earliest, freed, expiry, epoch, at = unpack(HEADER, text)
    subject.earliest, subject.freed, subject.expiry, subject.epoch = earliest, freed, expiry, epoch
    subject.stood_until = expiry
    if epoch > 0 then
      if at + 12 > #text then refuse() end
      local gaps
      gaps, subject.latest, subject.server, at = unpack(MEMORY, text, at)
      subject.gaps, at = sub(text, at, at + 12 * gaps - 1), at + 12 * gaps
    end
    for k = 1, count do
      if at + HEAD_LENGTH - 1 > #text then refuse() end
      local limit, form, length, total, held, newest, ends, oldest, body = unpack(HEAD, text, at)
      at = body + length
      if at > #text + 1 then refuse() end
      subject.sections[k] = {
        limit = limit, form = form, total = total, held = held, newest = newest, ends = ends, oldest = oldest,
        body = sub(text, body, at - 1),
      }
    end
    if leases > 0 and leases < SPILLED then
      load_leases(subject, text, leases, at)
    else
      subject.is_spilled = leases == SPILLED
      if subject.is_spilled then must_have_arrived(subject, further(subject, 'leases'), further(subject, 'held')) end
      if at ~= #text + 1 then refuse() end
    end
    return subject
  end

  local function store(subject)
    local sections, leases = subject.sections, subject.leases
    if subject.has_grown then
      -- Room is made for a new section by what holds nothing and has been empty for an hour: so far Redis's clock may
      -- step back.
      for k = #sections, 1, -1 do
        local section = sections[k]
        if section.ends + HOUR <= now_ms and section.held == 0 and not section.is_new then table.remove(sections, k) end
      end
    end
    if #sections == 0 and #leases == 0 and not subject.is_spilled and subject.epoch == 0 then
      return call('DEL', subject.key)
    end
    local count = subject.is_spilled and SPILLED or #leases
    local parts = {
      pack(HEADER, MARK, #sections, count, subject.earliest, subject.freed, subject.expiry, subject.epoch),
    }
    if subject.epoch > 0 then
      parts[2] = pack(MEMORY, #subject.gaps / 12, subject.latest, subject.server) .. subject.gaps
    end
    for _, section in ipairs(sections) do
      parts[#parts + 1] = pack(
        HEAD, section.limit, section.form, #section.body, section.total, section.held, section.newest, section.ends,
        section.oldest)
      parts[#parts + 1] = section.body
    end
    if #leases > 0 then
      local records, ids = {}, {}
      for l, lease in ipairs(leases) do
        records[l] = pack('<I6B', lease.lapses, #lease.parts / 10) .. lease.parts
        ids[l] = lease.id
      end
      records = table.concat(records)
      parts[#parts + 1] = records .. pack('<I2', #records) .. table.concat(ids)
    end
    call('SET', subject.key, table.concat(parts), 'PXAT', decimal(subject.expiry))
  end

  -- The section of a limit; where there is none, a new one if it `makes` one.
  local function section_of(subject, limit, makes)
    local sections, place = subject.sections, 1
    while sections[place] and sections[place].limit < limit do place = place + 1 end
    local section = sections[place]
    if section and section.limit == limit then return section end
    if not makes then return end
    section = {
      limit = limit, form = PLAIN, total = 0, held = 0, newest = 0, ends = 0, oldest = 0, body = '', is_new = true,
    }
    table.insert(sections, place, section)
    subject.has_grown = true
    return section
  end
