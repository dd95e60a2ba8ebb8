
  -- decide-leases.lua: what stands under leases, and what is known of the ids of those that have ended, and of usage.

  local function each_part(parts, visit)
    for at = 1, #parts, 10 do visit(unpack('<I4I6', parts, at)) end
  end

  -- Whether a shadow limit did not admit a lease.
  local function declined(parts, limit)
    local is_declined = false
    each_part(parts, function(id, amount) is_declined = is_declined or (id == limit and amount == MOST) end)
    return is_declined
  end

  local function give_back(subject, parts)
    each_part(parts, function(limit, amount)
      local section = amount < MOST and section_of(subject, limit)
      if section then section.held = math.max(0, section.held - amount) end
    end)
    subject.is_dirty = true
  end

  local function spill(subject)
    local leases, held = further(subject, 'leases'), further(subject, 'held')
    call('DEL', leases)
    call('DEL', held)
    for _, lease in ipairs(subject.leases) do
      call('ZADD', leases, decimal(lease.lapses), lease.id)
      call('HSET', held, lease.id, lease.parts)
    end
    subject.leases, subject.is_spilled, subject.is_dirty = {}, true, true
  end

  -- Takes the leases back into the bundle, where few are left.
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
    call('DEL', leases)
    call('DEL', held)
    subject.is_spilled, subject.is_dirty = false, true
  end

  -- Takes note of when a lease was given, which is never before the latest that is known.
  local function note_given(subject, given)
    if subject.epoch == 0 then
      subject.epoch = given
    elseif subject.server ~= server then
      subject.gaps = sub(subject.gaps .. pack('<I6I6', subject.latest, given), -12 * GAPS)
    end
    subject.latest, subject.server = given, server
  end

  -- Whether a lease may have been given that was in these instants: it was not where nothing was known of leases yet,
  -- where none was given so late, or none between what was given before and after.
  local function may_have_given(subject, first, last)
    if subject.epoch == 0 or last < subject.epoch or subject.latest < first then return false end
    for at = 1, #subject.gaps, 12 do
      local from, to = unpack('<I6I6', subject.gaps, at)
      if from < first and last < to then return false end
    end
    return true
  end

  -- What stands there of a lease, and its place among those in the bundle.
  local function kept_of(subject, id)
    if not subject.is_spilled then
      for place, lease in ipairs(subject.leases) do
        if lease.id == id then return lease, place end
      end
      return
    end
    local parts = call('HGET', further(subject, 'held'), id)
    local lapses = parts and call('ZSCORE', further(subject, 'leases'), id)
    if lapses then return { id = id, lapses = tonumber(lapses), parts = parts } end
  end

  -- The same, where it is still remembered.
  local function lease_of(subject, id, remember)
    local lease, place = kept_of(subject, id)
    if lease and lease.lapses + remember > now_ms then return lease, place end
  end

  local function remove_lease(subject, lease, place)
    if lease.lapses > subject.freed then give_back(subject, lease.parts) end
    subject.is_dirty = true
    if place then
      table.remove(subject.leases, place)
    else
      call('ZREM', further(subject, 'leases'), lease.id)
      call('HDEL', further(subject, 'held'), lease.id)
      gather(subject)
    end
    if not subject.is_spilled and #subject.leases == 0 then subject.earliest = 0 end
  end

  -- Redis must be able to write under the keys of a subject's leases before anything of the request is written.
  local function check_leases(subject)
    if not subject.is_spilled and #subject.leases < INLINE then return end
    call('ZCARD', further(subject, 'leases'))
    call('HLEN', further(subject, 'held'))
  end

  -- When a lease lapses that is to live for so long. Where Redis's clock has stepped back since lapsed leases were
  -- reaped, time stands still for the subject's leases until the clock has caught up.
  local function lapse_of(subject, life) return math.max(now_ms, subject.freed) + life end

  -- Lets a lease lapse at an instant. What is known of it outlives it by `remember`.
  local function put_lease(subject, id, lapses, parts, remember)
    local old, place = kept_of(subject, id)
    if not old and not subject.is_spilled and #subject.leases == INLINE then spill(subject) end
    subject.is_dirty = true
    if subject.earliest == 0 or lapses < subject.earliest then subject.earliest = lapses end
    subject.expiry = math.max(subject.expiry, lapses + remember)
    if place then
      old.lapses, old.parts = lapses, parts
    elseif not subject.is_spilled then
      table.insert(subject.leases, { id = id, lapses = lapses, parts = parts })
    else
      local leases, held = further(subject, 'leases'), further(subject, 'held')
      call('ZADD', leases, decimal(lapses), id)
      call('HSET', held, id, parts)
      -- They must not go before the bundle that counts what they hold.
      call('PEXPIREAT', leases, decimal(subject.expiry + HOUR))
      call('PEXPIREAT', held, decimal(subject.expiry + HOUR))
    end
  end

  local function reap_bundle(subject, remember)
    local kept, earliest = {}, 0
    for _, lease in ipairs(subject.leases) do
      if lease.lapses > subject.freed and lease.lapses <= now_ms then give_back(subject, lease.parts) end
      if lease.lapses + remember > now_ms then table.insert(kept, lease) end
      if lease.lapses > now_ms and (earliest == 0 or lease.lapses < earliest) then earliest = lease.lapses end
    end
    subject.leases, subject.earliest, subject.freed = kept, earliest, math.max(subject.freed, now_ms)
  end

  -- Takes what lapsed leases hold out of the sums: all of it where none is left that stands, else of 1,000 leases, or
  -- of as many as lapsed in one millisecond. The next decision goes on with the others; one that would be denied goes
  -- on at once, up to REAPED of them. What is known of a lease stays for a while, for a settle that comes late.
  local function reap(subject, remember)
    subject.is_dirty, subject.has_more_lapsed = true, false
    if not subject.is_spilled then return reap_bundle(subject, remember) end
    local leases, held = further(subject, 'leases'), further(subject, 'held')
    local old = call(
      'ZRANGEBYSCORE', leases, '-inf', decimal(math.min(now_ms - remember, subject.freed)), 'LIMIT', 0, 1000)
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
      subject.has_more_lapsed = true
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
    subject.freed = subject.has_more_lapsed and last or math.max(subject.freed, now_ms)
    if not subject.has_more_lapsed then subject.earliest = tonumber(following[2]) end
  end

  -- Whether an id has been dealt with; if not, it has been from now on, for `remember` at least, unless `looks`.
  --
  -- {key}:ids is a hash of 256 fields: under an id's first byte stand the 11 others of all that begin with it. Its
  -- field `since` says when it was begun. When it has been filled for so long, it becomes {key}:ids:before, and another
  -- begins. What is dealt with under a value is noted for its base: there it outlives the value's window.
  local function notes(subject, id, remember, looks)
    local owner = { key = string.match(subject.key, '^{([^}]*)}') or subject.key }
    local key, before = further(owner, 'ids'), further(owner, 'ids:before')
    local field, rest = sub(id, 1, 1), sub(id, 2, 12)
    must_have_arrived(subject, key, before)
    local function holds(text)
      local at = text and find(text, rest, 1, true)
      while at and at % 11 ~= 1 do at = find(text, rest, at + 1, true) end
      return at
    end
    local since, text = call('HGET', key, 'since'), call('HGET', key, field)
    if holds(text) or holds(call('HGET', before, field)) then return true end
    if looks then return false end
    if since and tonumber(since) + remember <= now_ms then
      call('RENAME', key, before)
      call('PEXPIREAT', before, decimal(now_ms + remember))
      since, text = false, false
    end
    if not since then call('HSET', key, 'since', decimal(now_ms)) end
    call('HSET', key, field, (text or '') .. rest)
    call('PEXPIREAT', key, decimal(now_ms + remember))
    return false
  end
