-- Decides a batch of calls, each under any number of limits of any number of subjects, on Redis's own clock. Of each
-- call everything is charged or nothing is.
--
-- KEYS     the keys of the calls' subjects: those of the first call, then those of the second, and so on. No key and
--          no limit stands twice in one call.
-- ARGV[1]  the limits' definitions, 26 bytes each: id I4, kind B (0 sliding, 1 calendar, 2 concurrency), flags B
--          (1 shadow, 2 needs room: what costs none of it is denied where not even 1 is left), four I5: the window in
--          milliseconds and three zeros; or the Unix seconds at which the calendar's previous, this, the next and the
--          next but one period begin; or zeros
-- ARGV[2...]  a call each: operation B, subjects B, time to live in milliseconds I4 (of the lease where one is given or
--          renewed, else of what is known of the id once it has been dealt with), length of the id B, the id; then
--          for each subject the number of its terms B, and for each term: definition B (from 0), quota I6, cost I6
--
--   1 check    admits where each cost fits under its quota, and charges; cost 0 looks; takes no concurrency slot, and
--              asks for one only where the limit needs room
--   2 reserve  admits likewise, also slots, and holds instead, under a lease with that id
--   3 renew    lets the lease live for so long from now
--   4 settle   frees the lease and charges, never denies, once for each id; also where the lease is not there any more
--   5 release  frees the lease; a later settle of the id charges nothing
--   6 usage    charges, never denies, once for each id; without an id each time
--   7 reset    forgets what the terms' limits count and hold, or everything where a subject has none; a later settle of
--              a lease that stood charges all the same
--
-- Returns a string for each call: status B, deciding term I2 (from 1; 0 none), retry in milliseconds I6, how much of the
-- retry what is charged needs, however early leases end, I6, and for each term: used I6 (held costs included),
-- milliseconds until its window is empty I6, flags B (1 denied, 2 denied by a shadow limit, 4 for good, 8 charged by a
-- settle or usage, 16 denied while leases hold some of it). A string that begins with ! is the error that failed this
-- call alone; nothing of it was charged. Status: 0 done, 1 denied, 2 denied for good, 3 at capacity, 4 no such lease,
-- 5 the id was settled, released or charged before. The term that decides is the one with the longest retry, of the
-- concurrency limits where one of them denies; each wait is the longest of all.
--
-- The script is this text, decide-windows.lua and decide-calls.lua, in that order. Window code is not shared with
-- check.lua: that reads and writes one key with the window's numbers in it, and is fast as nothing of it is a call.
--
-- A subject's small state is one string, the bundle, little endian: mark B (177), sections B, the time in milliseconds
-- before which no lease lapses I6 (0: no leases), when the key expires I6. Then for each section a head of 38 bytes:
-- limit id I4, form B, length I2 of its body, total I6, held I6, newest I7, ends in milliseconds I6, oldest I6. Then
-- the bodies, in that order.
--   form 8, 12  sliding: the entries as check.lua has them, oldest first; newest in microseconds, oldest modulo 2^48
--   form 1      sliding, long: size B, dead I2, merged I2, live I2 of the entries in {key}:w:<id in hex>, which are
--               kept, merged and removed as check.lua does it. It is home again when few are left, none of them merged.
--   form 0      calendar: no body, as one entry of the total at newest would be
-- newest is the time of the last charge, whatever the form. So a window says under any definition what it counts: how
-- long it slides, and which period it is, are of the definition alone, and may be others each time.
-- A window of check.lua itself is taken for the one of the limit `requests`, and becomes a bundle at the first write.
-- Leases: {key}:leases is a sorted set of their ids by the millisecond in which they lapse, {key}:held has for each id
-- what it holds (limit id I4, amount I6 each; MOST: nothing, a shadow limit did not admit it). {first key}:seen:<id>
-- says that an id has been dealt with.
local byte, rep, ceil, text_of, values = string.byte, string.rep, math.ceil, string.format, unpack
local call, unpack, pack, sub = redis.call, struct.unpack, struct.pack, string.sub
local MARK, LONG, CALENDAR, WRAP, MOST, REQUESTS = 177, 1, 0, 281474976710656, 281474976710655, 1384221189
local SMALL, HOME, EXACT, SLACK, REAPED, HOUR, DAY = 1024, 64, 1024, 256, 10000, 3600000, 86400000
local CHECK, RESERVE, RENEW, SETTLE, RELEASE, USAGE, RESET = 1, 2, 3, 4, 5, 6, 7
local clock = call('TIME')
local redis_now = clock[1] * 1000000 + clock[2]
local now_ms, redis_ends = math.floor(redis_now / 1000), ceil(redis_now / 1000)
local definitions, head_formats, term_formats, state_formats = {}, {}, {}, {}

-- Of the call that is being decided, for each term: its subject, section (0: none yet), definition and cost, and what
-- the term's window comes to at this instant, before the call charges it.
-- (Tables are made with room for a few elements: to grow one by one costs more than all else.)
local owners, places, rules, costs = { 0, 0, 0, 0 }, { 0, 0, 0, 0 }, { 0, 0, 0, 0 }, { 0, 0, 0, 0 }
local waits, totals, gones, oldests = { 0, 0, 0, 0 }, { 0, 0, 0, 0 }, { 0, 0, 0, 0 }, { 0, 0, 0, 0 }
local resets, leasts, charged = { 0, 0, 0, 0 }, { 0, 0, 0, 0 }, { 0, 0, 0, 0 }
local states, parts = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }, { '', '', '', '', '', '', '', '' }

local function repeated(formats, item, count)
  local format = '<' .. rep(item, count)
  formats[count] = format
  return format
end

local function define(index)
  local id, kind, flags, a, b, c, d = unpack('<I4BBI5I5I5I5', ARGV[1], 26 * index + 1)
  local rule = {
    id = id, kind = kind, shadow = flags % 2 == 1, floor = flags > 1 and 1 or 0, window = a * 1000,
    a * 1000, b * 1000, c * 1000, d * 1000,
  }
  definitions[index] = rule
  return rule
end

local function further(subject, suffix) return '{' .. subject.key .. '}:' .. suffix end
local function window_key(subject, id) return further(subject, text_of('w:%08x', id)) end
local function refuse() error('ERR the value is not a rate limit window', 0) end

-- The bundle for a window of check.lua.
local function adopted(subject, text)
  local size = byte(text)
  if #text <= 25 or (size ~= 8 and size ~= 12) then refuse() end
  local _, dead, merged, live, total, newest, span = unpack('<BI2I2I2I6I7I5', text)
  if live == 0 or #text ~= 25 + (dead + live) * size then refuse() end
  local first = 26 + dead * size
  local form, body = size, sub(text, first)
  if merged > 0 or #body > SMALL then
    form, body, subject.raw = LONG, pack('<BI2I2I2', size, dead, merged, live), sub(text, 26)
  end
  local ends, oldest = ceil(newest / 1000 + span), unpack('<I6', text, first)
  return pack('<BBI6I6I4BI2I6I6I7I6I6', MARK, 1, 0, ends, REQUESTS, form, #body, total, 0, newest, ends, oldest) .. body
end

local function load(key)
  local text = call('GET', key)
  local subject = {
    key = key, text = text, count = 0, earliest = 0, expiry = 0, dirty = false,
    heads = false, at = false, bodies = { false, false, false, false },
  }
  if not text then
    subject.heads, subject.at = { 0, 0, 0, 0, 0, 0, 0, 0 }, {}
    return subject
  end
  local at = { 0, 0, 0, 0 }
  if byte(text) ~= MARK then text = adopted(subject, text) end
  local _, count, earliest, expiry = unpack('<BBI6I6', text)
  local heads, offset = { unpack(head_formats[count] or repeated(head_formats, 'I4BI2I6I6I7I6I6', count), text, 15) }
  offset = heads[8 * count + 1]
  for k = 1, count do
    at[k] = offset
    offset = offset + heads[8 * k - 5]
  end
  if offset ~= #text + 1 then refuse() end
  subject.text, subject.count, subject.earliest, subject.expiry = text, count, earliest, expiry
  subject.heads, subject.at = heads, at
  return subject
end

local function place(subject, id)
  local heads = subject.heads
  for k = 1, subject.count do
    if heads[8 * k - 7] == id then return k end
  end
  return 0
end

local function new_place(subject, id)
  local k = subject.count + 1
  if k > 255 then error('ERR too many limits under one key', 0) end
  local heads, base = subject.heads, 8 * k - 8
  heads[base + 1], heads[base + 2], heads[base + 3], heads[base + 4] = id, 8, 0, 0
  heads[base + 5], heads[base + 6], heads[base + 7], heads[base + 8] = 0, 0, 0, 0
  subject.count, subject.bodies[k] = k, ''
  return k
end

-- Takes what a lease holds out of the sums; what it held, nil where the subject does not know it.
local function free(subject, lease)
  if subject.earliest == 0 or (subject.lapsed and subject.lapsed[lease]) then return end
  local record = call('HGET', further(subject, 'held'), lease)
  if not record then return end
  for at = 1, #record, 10 do
    local id, amount = unpack('<I4I6', record, at)
    local k = place(subject, id)
    if k > 0 and amount < MOST then
      subject.heads[8 * k - 3] = math.max(0, subject.heads[8 * k - 3] - amount)
    end
  end
  local freed = subject.freed or {}
  freed[#freed + 1], subject.freed, subject.dirty = lease, freed, true
  return record
end

-- Gives back what has lapsed: everything where no lease is left, else what 1,000 leases hold. The next decision goes on
-- with those that are left; one that would be denied goes on at once, up to REAPED leases.
local function reap(subject)
  local leases, freed, known = further(subject, 'leases'), subject.freed or {}, subject.lapsed or {}
  local following = call('ZRANGEBYSCORE', leases, now_ms + 1, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  subject.freed, subject.dirty, subject.more = nil, true, false
  if not following[2] then
    subject.ended, subject.earliest = true, 0
    for k = 1, subject.count do subject.heads[8 * k - 3] = 0 end
    return
  end
  local lapsed = call('ZRANGEBYSCORE', leases, '-inf', now_ms, 'LIMIT', #freed, 1000)
  for n = 1, #lapsed do
    free(subject, lapsed[n])
    known[lapsed[n]] = true
    freed[#freed + 1] = lapsed[n]
  end
  subject.freed, subject.lapsed, subject.more = freed, known, #lapsed == 1000
  if not subject.more then subject.earliest = tonumber(following[2]) end
end
