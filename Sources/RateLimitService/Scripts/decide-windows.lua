-- decide.lua goes on: what the windows come to, and what charging them makes of them. KEYS and ARGV as said there.

-- The entries that `open` has laid open: `chunk` are those from byte `base` on, of those under the key `source`.
local chunk, base, source

-- Size of the entries of section k, and how many are dead, merged and live. One that Redis has evicted is empty.
local function open(subject, k)
  local at, heads, body = 8 * k - 8, subject.heads, subject.bodies[k]
  local form = heads[at + 2]
  chunk, base = body or subject.text, body and 0 or 1 - subject.at[k]
  if form == CALENDAR then
    chunk, base = pack('<I6I6', heads[at + 6] % WRAP, heads[at + 4]), 0
    return 12, 0, 0, heads[at + 4] > 0 and 1 or 0
  end
  if form ~= LONG then return form, 0, 0, heads[at + 3] / form end
  local size, dead, merged, live = unpack('<BI2I2I2', chunk, 1 - base)
  if size ~= 8 and size ~= 12 then refuse() end
  source, chunk, base = window_key(subject, heads[at + 1]), subject.raw, 0
  if not chunk then
    base = dead * size
    chunk = call('GETRANGE', source, base, base + HOME * size - 1)
    if chunk == '' then return size, 0, 0, 0 end
    if #chunk < math.min(live, HOME) * size then refuse() end
  end
  return size, dead, merged, live
end

local function entry(size, offset)
  if offset - base + size > #chunk then
    chunk, base = call('GETRANGE', source, offset, offset + HOME * size - 1), offset
  end
  return unpack(size == 8 and '<I6I2' or '<I6I6', chunk, offset - base + 1)
end

-- Total of a sliding window at `now`, how many entries have left it, and the time of the oldest that has not.
local function remaining(subject, k, now, window)
  local size, dead, _, live = open(subject, k)
  local total, gone = subject.heads[8 * k - 4], 0
  while gone < live do
    local time, charged = entry(size, (dead + gone) * size)
    if (now - time) % WRAP < window then return total, gone, time end
    total, gone = total - charged, gone + 1
  end
  return 0, gone, 0
end

-- Under its definition a window keeps what it counts until `ends`, in milliseconds: it must not expire before, with the
-- definition it was charged under. A denial writes no more than this.
local function keep_until(subject, k, ends)
  local heads, at = subject.heads, 8 * k - 8
  heads[at + 7], subject.dirty = ends, true
  if ends > subject.expiry then subject.expiry = ends end
  if heads[at + 2] == LONG then
    subject.longer = subject.longer or {}
    table.insert(subject.longer, window_key(subject, heads[at + 1]))
  end
end

local function see_sliding(i, subject, k, window, keeps)
  local heads, at, now = subject.heads, 8 * k - 8, redis_now
  local total, gone, oldest, newest = heads[at + 4], 0, heads[at + 8], heads[at + 6]
  -- Where Redis's clock has stepped back, time stands still for this window until the clock has caught up.
  if newest > now then now = newest end
  if total > 0 and ((now - oldest) % WRAP >= window or heads[at + 2] == LONG) then
    total, gone, oldest = remaining(subject, k, now, window)
  end
  totals[i], gones[i], oldests[i], resets[i] = total, gone, oldest, 0
  if total > 0 then
    resets[i] = ceil((newest + window - redis_now) / 1000)
    local ends = ceil((newest + window) / 1000)
    if keeps and heads[at + 7] < ends then keep_until(subject, k, ends) end
  end
end

-- What was charged in the period that contains this instant, or the last charge where Redis's clock has stepped back
-- behind it: time stands still then.
local function see_calendar(i, subject, k, rule, keeps)
  if now_ms >= rule[4] then error('ERR the calendar periods are past', 0) end
  local heads, at, start, stop = subject.heads, 8 * k - 8, rule[1], rule[2]
  local now, time, newest, total = redis_now, now_ms, k > 0 and heads[at + 6] or 0, 0
  if newest > now then now, time = newest, newest / 1000 end
  if time >= rule[3] then start, stop = rule[3], rule[4] elseif time >= stop then start, stop = stop, rule[3] end
  if time >= stop then
    -- The clock has stepped back by more than a period: those to come are taken to be as long as the last one known.
    local length = stop - start
    start = start + math.floor((time - start) / length) * length
    stop = start + length
  end
  if k > 0 then
    if newest >= start * 1000 then total = heads[at + 4] end
    if total > 0 and heads[at + 2] ~= CALENDAR then total = remaining(subject, k, now, now - start * 1000 + 1) end
    if total > 0 and keeps and heads[at + 7] < stop then keep_until(subject, k, stop) end
  end
  totals[i], gones[i], oldests[i], resets[i] = total, 0, stop, total > 0 and stop - now_ms or 0
end

-- (What is rare stands inside of what needs it: Redis runs all of this anew each time, and makes each outer function.)

-- Milliseconds until term i passes if nobody else consumes and no lease is renewed; -1: never. And how many of them it
-- takes however early leases end: 0 where leases alone deny it.
-- Held costs are given up either never, or all together when the last lease lapses: whichever passes earlier.
local function wait(i, held, quota, cost)
  -- Milliseconds until the window of term i has no more than `room` in it.
  local function until_room(i, room)
    local subject, k, rule, total = owners[i], places[i], rules[i], totals[i]
    if total <= room then return 0 end
    if rule.kind == 1 then return oldests[i] - now_ms end
    local now, window, gone, time, charged = redis_now, rule.window, gones[i]
    if subject.heads[8 * k - 2] > now then now = subject.heads[8 * k - 2] end
    local size, dead, _, live = open(subject, k)
    repeat
      time, charged = entry(size, (dead + gone) * size)
      total, gone = total - charged, gone + 1
    until total <= room or gone == live
    return ceil((window - (now - time) % WRAP + now - redis_now) / 1000)
  end

  -- Milliseconds until leases that hold `amount` of a limit have lapsed, where few have to; else until all have.
  local function until_lapsed(subject, id, amount)
    local leases, held = further(subject, 'leases'), further(subject, 'held')
    for n = 0, amount and 15 or -1 do
      local lease = call('ZRANGEBYSCORE', leases, now_ms + 1, '+inf', 'WITHSCORES', 'LIMIT', n, 1)
      local record = lease[1] and call('HGET', held, lease[1]) or ''
      for at = 1, #record, 10 do
        local limit, part = unpack('<I4I6', record, at)
        if limit == id and part < MOST then amount = amount - part end
      end
      if not lease[1] then break end
    if amount <= 0 then return tonumber(lease[2]) - now_ms end
    end
    local last = call('ZRANGE', leases, -1, -1, 'WITHSCORES')[2]
    if last then return math.max(1, tonumber(last) - now_ms) end
    -- Redis has evicted the leases: the next decision gives back what they held.
    subject.earliest, subject.dirty = now_ms, true
    return 1
  end

  if cost > quota then return -1, 0 end
  if rules[i].kind == 2 then
    -- Among more that have lapsed than one decision gives back, only the end of the last is sure to make room.
    return until_lapsed(owners[i], rules[i].id, not owners[i].more and held + cost - quota or nil), 0
  end
  local least = until_room(i, quota - cost)
  if held == 0 then return least, least end
  local free = math.max(least, until_lapsed(owners[i]))
  if held + cost <= quota then free = math.min(free, until_room(i, quota - cost - held)) end
  return free, least
end

-- Charges a long window; its new body and form.
local function charge_long(i, now, cost, total, ends)
  -- What check.lua does to a long window after SLACK admissions: the live entries, merged; their size, the merged ones'
  -- number and the number of all.
  local function merge(all, old_size, merged, live, total, window)
    local size = total > 65535 and 12 or 8
    local format, old_format = size == 8 and '<I6I2' or '<I6I6', old_size == 8 and '<I6I2' or '<I6I6'
    local cut = math.max(merged, live + 1 - EXACT)
    local first = size == old_size and math.max(merged - 1, 1) or 1
    local parts, count, before, last, sum = { sub(all, 1, (first - 1) * size) }, first - 1
    for n = first, cut do
      local time, charged = unpack(old_format, all, (n - 1) * old_size + 1)
      if before and n > merged and (time - before) % WRAP * 1024 <= window then
        last, sum = time, sum + charged
      else
        if last then
          count = count + 1
          parts[#parts + 1] = pack(format, last, sum)
        end
        before, last, sum = last, time, charged
      end
    end
    if last then
      count = count + 1
      parts[#parts + 1] = pack(format, last, sum)
    end
    if size == old_size then
      parts[#parts + 1] = sub(all, cut * size + 1)
    else
      for n = cut + 1, live do
        parts[#parts + 1] = pack(format, unpack(old_format, all, (n - 1) * old_size + 1))
      end
    end
    return table.concat(parts), size, count, count + live - cut
  end

  local subject, k, gone = owners[i], places[i], gones[i]
  local size, dead, merged, live = open(subject, k)
  local key, adds = source, pack(size == 8 and '<I6I2' or '<I6I6', now, cost)
  local fits = cost < 65536 or size == 12
  dead, live, merged = dead + gone, live - gone, math.max(0, merged - gone)
  if subject.raw then
    call('SET', key, subject.raw)
    subject.raw = nil
  end
  if fits and live < HOME and merged == 0 then
    local body = call('GETRANGE', key, dead * size, (dead + live) * size - 1)
    call('DEL', key)
    return body .. adds, size
  end
  if fits and dead < SLACK and live - merged < EXACT + SLACK then
    call('APPEND', key, adds)
  else
    local all = call('GETRANGE', key, dead * size, (dead + live) * size - 1)
    all, size, merged, live = merge(all, size, merged, live, total, rules[i].window)
    dead = 0
    call('SET', key, all .. pack(size == 8 and '<I6I2' or '<I6I6', now, cost))
  end
  call('PEXPIREAT', key, ends)
  return pack('<BI2I2I2', size, dead, merged, live + 1), LONG
end

-- The new body and form of the sliding window of term i, `total` with the cost.
local function charge_sliding(i, now, cost, total, ends)
  local subject, k, gone = owners[i], places[i], gones[i]
  local at, heads, body = 8 * k - 8, subject.heads, subject.bodies[k]
  local form = heads[at + 2]
  if total == cost then
    if form == LONG then
      call('DEL', window_key(subject, heads[at + 1]))
      subject.raw = nil
    end
    oldests[i] = now % WRAP
    if cost < 65536 then return pack('<I6I2', now, cost), 8 end
    return pack('<I6I6', now, cost), 12
  end
  if form == LONG then return charge_long(i, now, cost, total, ends) end
  local first, length = gone * form, heads[at + 3]
  if form == CALENDAR then
    form, body = 12, pack('<I6I6', heads[at + 6] % WRAP, total - cost)
  elseif body then
    body = sub(body, first + 1)
  else
    body = sub(subject.text, subject.at[k] + first, subject.at[k] + length - 1)
  end
  if form == 8 and cost < 65536 then
    body = body .. pack('<I6I2', now, cost)
  else
    if form == 8 then
      local wide = {}
      for n = 1, #body, 8 do wide[#wide + 1] = pack('<I6I6', unpack('<I6I2', body, n)) end
      form, body = 12, table.concat(wide)
    end
    body = body .. pack('<I6I6', now, cost)
  end
  if #body <= SMALL then return body, form end
  call('SET', window_key(subject, heads[at + 1]), body, 'PXAT', ends)
  return pack('<BI2I2I2', form, 0, 0, #body / form), LONG
end

local function charge(i, cost)
  local subject, rule, total, ends = owners[i], rules[i], totals[i]
  if total + cost > MOST then cost = MOST - total end
  if cost <= 0 then return end
  local k = places[i]
  if k == 0 then
    k = new_place(subject, rule.id)
    places[i] = k
  end
  local heads, at, now = subject.heads, 8 * k - 8, redis_now
  local stands = heads[at + 6] > now
  if stands then now = heads[at + 6] end
  total = total + cost
  if rule.kind == 0 then
    local window = rule.window
    ends = redis_ends + window / 1000
    resets[i] = window / 1000
    if stands then
      ends = ceil((now + window) / 1000)
      resets[i] = ceil((now + window - redis_now) / 1000)
    end
    local body, form = charge_sliding(i, now, cost, total, ends)
    heads[at + 2], heads[at + 3], heads[at + 8], subject.bodies[k] = form, #body, oldests[i], body
  else
    if heads[at + 2] == LONG then
      call('DEL', window_key(subject, rule.id))
      subject.raw = nil
    end
    ends = oldests[i]
    heads[at + 2], heads[at + 3], heads[at + 8], subject.bodies[k] = CALENDAR, 0, now % WRAP, ''
    resets[i] = ends - now_ms
  end
  heads[at + 4], heads[at + 6], heads[at + 7], totals[i], subject.dirty = total, now, ends, total, true
  if ends > subject.expiry then subject.expiry = ends end
end

-- Leaves out the sections that hold nothing and have been empty for an hour: Redis's clock may step back so far.
local function purge(subject)
  local heads, at, bodies, count = subject.heads, subject.at, subject.bodies, 0
  for k = 1, subject.count do
    local from = 8 * k - 8
    if heads[from + 7] + HOUR > now_ms or heads[from + 5] > 0 then
      count = count + 1
      if count < k then
        local to = 8 * count - 8
        for n = 1, 8 do heads[to + n] = heads[from + n] end
        at[count], bodies[count] = at[k], bodies[k]
      end
    elseif heads[from + 2] == LONG and subject.raw then
      subject.raw = nil
    end
  end
  subject.count = count
end

-- Removes the leases that the subject's sums do without already.
local function drop_freed(subject)
  local freed = subject.freed
  if not freed and not subject.ended then return end
  local leases, held = further(subject, 'leases'), further(subject, 'held')
  if subject.ended then call('DEL', leases, held) end
  for n = 1, freed and #freed or 0, 1000 do
    call('ZREM', leases, values(freed, n, math.min(n + 999, #freed)))
    call('HDEL', held, values(freed, n, math.min(n + 999, #freed)))
  end
  subject.freed, subject.ended = nil, nil
end

local function store(subject)
  drop_freed(subject)
  local heads, at, bodies, text = subject.heads, subject.at, subject.bodies, subject.text
  for k = 1, subject.count do
    if heads[8 * k - 1] + HOUR <= now_ms and heads[8 * k - 3] == 0 then
      purge(subject)
      break
    end
  end
  local count = subject.count
  if count == 0 and subject.earliest == 0 then return call('DEL', subject.key) end
  for n = 1, subject.longer and #subject.longer or 0 do call('PEXPIREAT', subject.longer[n], subject.expiry) end
  if subject.raw then call('SET', window_key(subject, REQUESTS), subject.raw, 'PXAT', subject.expiry) end
  parts[1] = pack('<BBI6I6', MARK, count, subject.earliest, subject.expiry)
  parts[2] = pack(head_formats[count] or repeated(head_formats, 'I4BI2I6I6I7I6I6', count), values(heads, 1, 8 * count))
  for k = 1, count do
    parts[k + 2] = bodies[k] or sub(text, at[k], at[k] + heads[8 * k - 5] - 1)
  end
  call('SET', subject.key, table.concat(parts, '', 1, count + 2), 'PXAT', subject.expiry)
end
