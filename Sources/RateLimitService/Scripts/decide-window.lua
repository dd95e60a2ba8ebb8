
  -- decide-window.lua: what a limit's window comes to, for how long it denies, and what charging makes of it.

  local function entry_format(size) return size == 8 and '<I6I2' or '<I6I6' end

  -- Size, and number of dead, merged and live entries of a section; a function that gives the time and cost of the n-th
  -- live one. A long window that Redis has evicted is empty; of one that a write has left longer than the bundle knows,
  -- what the bundle knows counts.
  local function open(subject, section)
    local form, body = section.form, section.body
    if form == PLAIN then return 8, 0, 0, 0 end
    if form ~= LONG then
      return form, 0, 0, #body / form, function(n) return unpack(entry_format(form), body, (n - 1) * form + 1) end
    end
    local size, dead, merged, live = unpack('<BI2I2I2', body)
    if size ~= 8 and size ~= 12 then refuse() end
    local key, base, chunk = window_key(subject, section), 0, nil
    local length = call('STRLEN', key)
    if length == 0 then
      must_have_arrived(subject, key)
      return size, 0, 0, 0
    end
    if length < (dead + live) * size then refuse() end
    section.has_excess = length > (dead + live) * size
    return size, dead, merged, live, function(n)
      if not chunk or n <= base or (n - base) * size > #chunk then
        local from = (dead + n - 1) * size
        chunk, base = call('GETRANGE', key, from, from + HOME * size - 1), n - 1
      end
      return unpack(entry_format(size), chunk, (n - base - 1) * size + 1)
    end
  end

  -- What entries have a time less than `span` before `now`: their total, how many do not, and the time of the oldest.
  local function remaining(subject, section, now, span)
    local _, _, _, live, entry = open(subject, section)
    local total, gone = section.total, 0
    while gone < live do
      local time, charged = entry(gone + 1)
      if (now - time) % WRAP < span then return total, gone, time end
      total, gone = total - charged, gone + 1
    end
    return 0, gone, 0
  end

  -- The period of a calendar that contains an instant, in milliseconds. Where the instant is behind the periods that
  -- are known, because the clock has stepped back since, those to come are taken to be as long as the last one.
  local function period(term, at)
    local periods = term.periods
    if now_ms >= periods[4] then error('ERR the calendar periods are past', 0) end
    -- What is charged in none of them would count for nothing.
    if now_ms < periods[1] then error('ERR the calendar periods are to come', 0) end
    local start, stop = periods[1], periods[2]
    if at >= periods[3] then
      start, stop = periods[3], periods[4]
    elseif at >= stop then
      start, stop = stop, periods[3]
    end
    if at >= stop then
      local length = stop - start
      start = start + floor((at - start) / length) * length
      stop = start + length
    end
    return start, stop
  end

  -- When the last of a subject's leases lapses, in milliseconds; 0 where it has none.
  local function last_lapse(subject)
    if subject.is_spilled then
      return tonumber(call('ZRANGE', further(subject, 'leases'), -1, -1, 'WITHSCORES')[2] or 0)
    end
    local last = 0
    for _, lease in ipairs(subject.leases) do last = math.max(last, lease.lapses) end
    return last
  end

  -- Reckons what a term's window comes to now, before the request charges it. Where Redis's clock has stepped back,
  -- time stands still for the window until the clock has caught up.
  local function look(term, keeps)
    local subject, section = term.subject, term.section
    local newest, counted = section and section.newest or 0, section and section.total or 0
    local now = math.max(redis_now, newest)
    term.now, term.total, term.highest, term.gone, term.oldest, term.reset = now, 0, 0, 0, 0, 0
    if term.kind == CONCURRENCY then return end
    local ends
    if term.kind == SLIDING then
      if counted == 0 then
        -- Nothing has been charged, or the limit was reset.
      elseif section.form == PLAIN then
        if now - newest < term.window then term.total, term.oldest = counted, newest % WRAP end
      elseif section.form == LONG or (now - section.oldest) % WRAP >= term.window then
        term.total, term.gone, term.oldest = remaining(subject, section, now, term.window)
      else
        term.total, term.oldest = counted, section.oldest
      end
      ends = ceil((newest + term.window) / 1000)
      if term.total > 0 then term.reset = ceil((newest + term.window - redis_now) / 1000) end
    elseif term.kind == LIFETIME then
      local stands_until = newest + term.window
      term.stands = section and (now < stands_until or section.held > 0)
      if term.stands and section.form == PLAIN then term.highest = section.oldest end
      if term.stands and counted > 0 then
        term.total, term.reset = counted, ceil((stands_until - redis_now) / 1000)
        if term.reset <= 0 then term.reset = math.max(1, last_lapse(subject) - now_ms) end
      end
      ends = ceil(stands_until / 1000)
    else
      term.start, term.stop = period(term, floor(now / 1000))
      if counted > 0 and section.form ~= PLAIN then
        term.total, term.gone, term.oldest = remaining(subject, section, now, now - term.start * 1000 + 1)
      elseif newest >= term.start * 1000 then
        term.total = counted
        if section and section.form == PLAIN then term.highest = section.oldest end
      end
      ends = term.stop
      if term.total > 0 then term.reset = term.stop - now_ms end
    end
    -- What a changed window counts for longer must not expire with the former one.
    if keeps and term.total > 0 and section.ends < ends then
      section.ends, subject.is_dirty = ends, true
      subject.expiry = math.max(subject.expiry, ends)
      if section.form == LONG then call('PEXPIREAT', window_key(subject, section), decimal(ends)) end
    end
  end

  -- Milliseconds until a term passes if nobody else consumes and no lease is renewed; -1: never. And how many of them
  -- it takes however early leases end: 0 where leases alone deny it. Held costs are given up either never, or all
  -- together when the last lease lapses: whichever passes earlier.
  local function wait(term, held, cost)
    local subject, quota = term.subject, term.quota

    local function until_room(room)
      local total, gone = term.total, term.gone
      if total <= room then return 0 end
      if term.kind == CALENDAR then return term.stop - now_ms end
      -- Nothing leaves a lifetime before all does.
      if term.kind == LIFETIME then
        return math.max(0, ceil((term.section.newest + term.window - redis_now) / 1000))
      end
      local _, _, _, live, entry = open(subject, term.section)
      local time, charged = term.oldest, total
      if entry then
        repeat
          time, charged = entry(gone + 1)
          total, gone = total - charged, gone + 1
        until total <= room or gone == live
      end
      return ceil((term.window - (term.now - time) % WRAP + term.now - redis_now) / 1000)
    end

    -- Milliseconds until leases that hold `amount` of the limit have lapsed, where few have to; else until all have.
    local function until_lapsed(amount)
      local last, standing_from = 0, math.max(subject.freed, now_ms)
      -- Whether what is left of `amount` is no more than a lease holds.
      local function suffices(lapses, parts)
        last = math.max(last, lapses)
        if not amount then return false end
        each_part(parts, function(limit, part)
          if limit == term.limit and part < MOST then amount = amount - part end
        end)
        return amount <= 0
      end
      if not subject.is_spilled then
        local standing = {}
        for _, lease in ipairs(subject.leases) do
          if lease.lapses > standing_from then table.insert(standing, lease) end
        end
        table.sort(standing, function(a, b) return a.lapses < b.lapses end)
        for _, lease in ipairs(standing) do
          if suffices(lease.lapses, lease.parts) then return last - now_ms end
        end
      else
        local leases, held = further(subject, 'leases'), further(subject, 'held')
        local following = amount
          and call('ZRANGEBYSCORE', leases, decimal(standing_from + 1), '+inf', 'WITHSCORES', 'LIMIT', 0, INLINE) or {}
        for n = 1, #following, 2 do
          local parts = call('HGET', held, following[n]) or ''
          if suffices(tonumber(following[n + 1]), parts) then return last - now_ms end
        end
        last = last_lapse(subject)
      end
      if last > now_ms then return last - now_ms end
      -- Redis has evicted the leases: the next decision gives back what they held.
      subject.earliest, subject.is_dirty = now_ms, true
      return 1
    end

    if cost > quota then return -1, 0 end
    -- Among more that have lapsed than one decision gives back, only the end of the last is sure to make room.
    if term.kind == CONCURRENCY then
      return until_lapsed(not subject.has_more_lapsed and held + cost - quota or nil), 0
    end
    local least = until_room(quota - cost)
    if held == 0 then return least, least end
    local free = math.max(least, until_lapsed())
    -- What leases hold keeps all that a lifetime counts.
    if held + cost <= quota and term.kind ~= LIFETIME then free = math.min(free, until_room(quota - cost - held)) end
    return free, least
  end

  -- The live entries of a long window, merged; their size, the merged ones' number and the number of all. Of all but
  -- the newest EXACT entries each joins the one before it if that keeps both within a 1,024th of the window of the
  -- entry before those: an admission never leaves the window early, and at most so much late.
  local function merge(all, old_size, merged, live, total, window)
    local size = total > 65535 and 12 or 8
    local format, old_format = entry_format(size), entry_format(old_size)
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

  -- A long window is touched at its two ends only, and rewritten after SLACK charges, when the dead go and what may
  -- merge does. It comes home when few entries are left, none of them merged.
  local function charge_long(term, section, total, cost, ends)
    local size, dead, merged, live = open(term.subject, section)
    local key, entry = window_key(term.subject, section), pack(entry_format(size), term.now % WRAP, cost)
    local fits = cost < 65536 or size == 12
    dead, live, merged = dead + term.gone, live - term.gone, math.max(0, merged - term.gone)
    if fits and live < HOME and merged == 0 then
      section.body = call('GETRANGE', key, dead * size, (dead + live) * size - 1) .. entry
      section.form = size
      return call('DEL', key)
    end
    if fits and dead < SLACK and live - merged < EXACT + SLACK and not section.has_excess then
      call('APPEND', key, entry)
    else
      local all = call('GETRANGE', key, dead * size, (dead + live) * size - 1)
      all, size, merged, live = merge(all, size, merged, live, total, term.window)
      dead = 0
      call('SET', key, all .. pack(entry_format(size), term.now % WRAP, cost))
    end
    call('PEXPIREAT', key, decimal(ends))
    section.body, section.form = pack('<BI2I2I2', size, dead, merged, live + 1), LONG
  end

  local function charge_short(term, section, cost, ends)
    local now, form, body = term.now % WRAP, section.form, section.body
    if form == PLAIN then
      -- What a calendar counted is one charge, at the time of the last one.
      form = term.total < 65536 and 8 or 12
      body = pack(entry_format(form), section.newest % WRAP, term.total)
    else
      body = sub(body, term.gone * form + 1)
    end
    if form == 8 and cost > 65535 then
      local wide = {}
      for at = 1, #body, 8 do wide[#wide + 1] = pack('<I6I6', unpack('<I6I2', body, at)) end
      form, body = 12, table.concat(wide)
    end
    body = body .. pack(entry_format(form), now, cost)
    if #body <= SMALL then
      section.body, section.form = body, form
    else
      call('SET', window_key(term.subject, section), body, 'PXAT', decimal(ends))
      section.body, section.form = pack('<BI2I2I2', form, 0, 0, #body / form), LONG
    end
  end

  -- Takes note of which thresholds a charge crosses: those above the most that has counted before.
  local function tell(term, before)
    local plan, at, first, place, amount = term.plan, term.tells, 0, 0, nil
    if at == 0 or term.total <= before then return end
    local count
    count, at = unpack('B', plan, at)
    for _ = 1, count do
      amount, at = unpack('<I6', plan, at)
      if amount > term.total then break end
      place = place + 1
      if first == 0 and amount > before then first = place end
    end
    if first > 0 then term.crossed = pack('<BBI6', first, place, term.total) end
  end

  -- Lets a window count nothing, at this time.
  local function begin_anew(term, section)
    if section.form == LONG then call('DEL', window_key(term.subject, section)) end
    section.form, section.body, section.oldest, section.total, section.newest = PLAIN, '', 0, 0, term.now
  end

  -- A window counts no more than MOST.
  local function charge(term, cost)
    local subject = term.subject
    cost = math.min(cost, MOST - term.total)
    if cost <= 0 or term.kind == CONCURRENCY then return end
    local section = term.section or section_of(subject, term.limit, true)
    term.section = section
    local ends = term.kind == CALENDAR and term.stop or ceil((term.now + term.window) / 1000)
    if term.kind ~= SLIDING or term.total == 0 then
      begin_anew(term, section)
      if term.highest > term.total + cost then section.oldest = term.highest end
      if term.kind == SLIDING then
        section.form, section.oldest = cost < 65536 and 8 or 12, term.now % WRAP
        section.body = pack(entry_format(section.form), section.oldest, cost)
      end
    else
      if section.form == LONG then
        charge_long(term, section, term.total + cost, cost, ends)
      else
        charge_short(term, section, cost, ends)
      end
      section.oldest = term.oldest
    end
    local before = math.max(term.total, term.highest)
    term.total = term.total + cost
    tell(term, before)
    section.total, section.newest, section.ends = term.total, term.now, ends
    subject.expiry, subject.is_dirty = math.max(subject.expiry, ends), true
    term.reset = ends - now_ms
    if term.kind ~= CALENDAR then term.reset = ceil((term.now + term.window - redis_now) / 1000) end
  end

  -- Takes back what a window counts, from its newest charge on, and says whether it counted anything. What has left the
  -- window stays, since it is in it again where the clock steps back; and so does `newest`, behind which time never goes.
  local function take_back(term, amount)
    local subject, section = term.subject, term.section
    amount = math.min(amount, term.total)
    if amount <= 0 then return false end
    if section.form == PLAIN then section.oldest = math.max(section.oldest, section.total) end
    term.total, section.total, subject.is_dirty = term.total - amount, section.total - amount, true
    if term.total == 0 then term.reset = 0 end
    if section.form == PLAIN then return true end
    local size, dead, merged, live = open(subject, section)
    local key, format, all, rest = window_key(subject, section), entry_format(size), section.body, ''
    if section.form == LONG then all = call('GETRANGE', key, dead * size, (dead + live) * size - 1) end
    while amount > 0 and live > 0 do
      local time, charged = unpack(format, all, (live - 1) * size + 1)
      if charged > amount then rest = pack(format, time, charged - amount) end
      amount, live = amount - charged, live - 1
    end
    all = sub(all, 1, live * size) .. rest
    live = #all / size
    merged = math.min(merged, live)
    if section.form ~= LONG then
      section.body = all
    elseif live < HOME and merged == 0 then
      section.form, section.body = size, all
      call('DEL', key)
    else
      section.body = pack('<BI2I2I2', size, 0, merged, live)
      call('SET', key, all, 'PXAT', decimal(section.ends))
    end
    if live == 0 then section.form, section.oldest = PLAIN, 0 end
    return true
  end
