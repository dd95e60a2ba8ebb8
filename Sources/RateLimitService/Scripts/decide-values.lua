
  -- decide-values.lua: the subjects of which a user or a group has one for each value of what calls say, and how many
  -- of them there may be.
  --
  -- The key of such a subject is {<base>}:by:<name>=<value>,<name>=<value>, where the base is the key of the user or the
  -- group, no name has a `=`, and no value a `,` or a `}`. Where its plan has a bound, what follows :by: is in the
  -- sorted set {<base>}:values:<name>,<name>, by the time in milliseconds when it was last known to be used; there are
  -- no more members than the bound says. {<base>}:values is a sorted set of the names, by when the set of theirs
  -- expires: at the end of the hour in which the last of its bundles does. So a bundle has to do with them only when it
  -- begins, and when its expiry comes to another hour.

  local function values_of(key)
    local base, member = string.match(key, '^({[^}]*}):by:(.+)$')
    if not base then error('ERR a key without values has a bound', 0) end
    local names = string.gsub(member, '=[^,]*', '')
    return {
      base = base, member = member, names = names, all_names = base .. ':values', set = base .. ':values:' .. names,
    }
  end

  -- Redis must be able to read what tells of a subject's values before anything of the request is written.
  local function expect_value(subject)
    subject.values = values_of(subject.key)
    call('ZCARD', subject.values.set)
    call('ZCARD', subject.values.all_names)
  end

  -- Deletes a bundle and all that is beside it. One by one, and only those there are: in a slot on its way a command
  -- finds no key that is missing.
  local function drop(subject)
    for _, section in ipairs(subject.sections) do
      if section.form == LONG then call('DEL', window_key(subject, section)) end
    end
    if subject.is_spilled then
      call('DEL', further(subject, 'leases'))
      call('DEL', further(subject, 'held'))
    end
    call('DEL', subject.key)
  end

  -- A subject, and when its bundle was last charged, which is now where a lease stands; nothing where there is none.
  local function last_use(key)
    local is_ours, subject = pcall(load, key)
    if not is_ours or subject.is_new then return end
    local latest = subject.earliest > now_ms and now_ms or 0
    for _, section in ipairs(subject.sections) do latest = math.max(latest, floor(section.newest / 1000)) end
    return subject, latest
  end

  -- Makes room for one more value in its set, and says whether it took another one's windows for that: those that have
  -- been idle for longest. Of a value in the set only the time is known when it was looked at last, so whichever has
  -- been used since is put behind; after LOOKS the longest idle of those seen goes.
  local function make_room(values, bound)
    local set, has_displaced, idle, idle_since = values.set, false, nil, nil
    local function displace(subject)
      drop(subject)
      call('ZREM', set, sub(subject.key, #values.base + 5))
      has_displaced = true
      if idle and idle.key == subject.key then idle = nil end
    end
    for _ = 1, LOOKS do
      if call('ZCARD', set) < bound then return has_displaced end
      local lowest = call('ZRANGE', set, 0, 0, 'WITHSCORES')
      local member, known = lowest[1], tonumber(lowest[2])
      local subject, used = last_use(values.base .. ':by:' .. member)
      if not subject then
        call('ZREM', set, member)
      elseif used <= known then
        displace(subject)
      else
        call('ZADD', set, decimal(used), member)
        if not idle or used < idle_since then idle, idle_since = subject, used end
      end
    end
    if idle and call('ZCARD', set) >= bound then displace(idle) end
    return has_displaced
  end

  -- Takes a subject that was stored into the set of its values, or lets the set live as long as the subject now does.
  local function register(subject)
    if not subject.is_new and floor(subject.expiry / HOUR) <= floor(subject.stood_until / HOUR) then return end
    local values = subject.values
    call('ZREM', values.set, values.member)
    subject.has_displaced = make_room(values, subject.bound)
    call('ZADD', values.set, decimal(now_ms), values.member)
    local ends = (floor(subject.expiry / HOUR) + 1) * HOUR
    local stands_until = tonumber(call('ZSCORE', values.all_names, values.names) or 0)
    if stands_until < ends then
      local gone = call('ZRANGEBYSCORE', values.all_names, '-inf', decimal(now_ms), 'LIMIT', 0, LOOKS)
      call('ZADD', values.all_names, decimal(ends), values.names)
      for _, names in ipairs(gone) do
        if names ~= values.names then call('ZREM', values.all_names, names) end
      end
      local last = call('ZRANGE', values.all_names, -1, -1, 'WITHSCORES')
      call('PEXPIREAT', values.all_names, decimal(last[2]))
    end
    -- A set whose last member went has lost its expiry.
    call('PEXPIREAT', values.set, decimal(math.max(ends, stands_until)))
  end

  -- Gives `visit` the key of each value of a base, the longest idle first, up to VALUES of them. Those whose bundle does
  -- not stay, as it says, leave their set; the others go behind, so that a second round goes on.
  local function each_value(base, is_sure, visit)
    local all_names, left = further({ key = base }, 'values'), VALUES
    -- In a slot on its way Redis does not say that there are none.
    local names = (is_sure and call or redis.pcall)('ZRANGE', all_names, 0, -1)
    for _, name in ipairs(names) do
      local set = all_names .. ':' .. name
      for _, member in ipairs(left > 0 and call('ZRANGE', set, 0, left - 1) or {}) do
        left = left - 1
        if visit(further({ key = base }, 'by:' .. member)) then
          call('ZADD', set, decimal(now_ms), member)
        else
          call('ZREM', set, member)
        end
      end
    end
  end
