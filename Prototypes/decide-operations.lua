
-- decide-windows.lua goes on: the operations.
  -- Operations

  -- The request's subjects and terms, and what these come to.
  local function see(plan, first, costs, keeps, asks)
    local subjects, terms, m = {}, {}, 7
    for j = 1, plan[2] do
      local subject = load(KEYS[first + j - 1])
      subjects[j] = subject
      if subject.earliest > 0 and subject.earliest <= now_ms then reap(subject, plan[4]) end
      for d = m + 1, m + 10 * plan[m], 10 do
        local cost, need, quota = costs[plan[d + 8]] or plan[d + 9], nil, plan[d + 7]
        if cost == MOST then
          cost, need = 0, 1
        else
          if cost > quota and plan[d + 2] > 1 then cost = quota end
          need = cost
        end
        -- A check takes no slot, and asks for one.
        if plan[d + 1] == 2 and asks == CHECK then cost = 0 end
        local term = {
          plan = plan, d = d, subject = subject, id = plan[d], kind = plan[d + 1], is_shadow = plan[d + 2] % 2 == 1,
          window = plan[d + 3], quota = quota, cost = cost, section = section_of(subject, plan[d]), reset = 0,
        }
        terms[#terms + 1] = term
        look(term, keeps and need > 0)
        if asks and need > 0 then
          local section = term.section
          local function lacks() return term.total + (section and section.held or 0) + need > term.quota end
          while lacks() and subject.more and section and section.held > 0 and subject.reaped < REAPED do
            reap(subject, plan[4])
          end
          if lacks() then term.wait = wait(term, section and section.held or 0, need) end
        end
      end
      m = m + 1 + 10 * plan[m]
    end
    return subjects, terms
  end

  -- Status, deciding term and longest retry of a check or reserve.
  local function judge(terms)
    local status, decider, longest, retry = 0, 0, 0, 0
    for i, term in ipairs(terms) do
      local waiting = term.wait
      if waiting ~= 0 and not term.is_shadow then
        local rank = waiting < 0 and 2 or (term.kind == 2 and 3 or 1)
        retry = math.max(retry, waiting)
        if rank > status or (rank == status and waiting > longest) then status, decider, longest = rank, i, waiting end
      end
    end
    return status, decider, status == 2 and 0 or retry
  end

  local function reserve(plan, subjects, terms, id)
    local lapses = now_ms + plan[3]
    for _, subject in ipairs(subjects) do
      if lease_of(subject, id) then return 5 end
    end
    for _, subject in ipairs(subjects) do
      local parts = {}
      for _, term in ipairs(terms) do
        if term.subject == subject and term.wait == 0 then
          parts[#parts + 1] = pack('<I4I6', term.id, term.cost)
          if term.cost > 0 then
            term.section = term.section or section_of(subject, term.id, true)
            if term.section.is_new and term.kind == 0 and term.section.form == PLAIN then term.section.form = 8 end
            term.section.held = term.section.held + term.cost
          end
        end
      end
      if subject.epoch == 0 then subject.epoch = now_ms end
      put_lease(subject, id, lapses, table.concat(parts), plan[4])
    end
    return 0
  end

  local function renew(plan, subjects, id)
    local found = {}
    for j, subject in ipairs(subjects) do
      found[j] = lease_of(subject, id)
      if not found[j] or found[j].lapses <= subject.freed then return 4 end
    end
    for j, subject in ipairs(subjects) do
      put_lease(subject, id, now_ms + plan[3], found[j].parts, plan[4])
    end
    return 0
  end

  -- Whether a lease's parts have one of a limit.
  local function has(parts, id)
    for at = 1, #parts, 10 do
      if unpack('<I4', parts, at) == id then return true end
    end
    return false
  end

  local function settle(op, plan, subjects, terms, id, epoch)
    local first, status = subjects[1], 0
    local found, place = lease_of(first, id)
    if found then
      if op == RELEASE and found.lapses <= first.freed then status = 4 end
    elseif first.epoch == epoch then
      return 5
    elseif op == OLD then
      return 6
    else
      if notes(first, id .. '\0\0\0\0', plan[4]) then return 5 end
      if op == RELEASE then status = 4 end
    end
    local records = {}
    for j, subject in ipairs(subjects) do
      if j > 1 then found, place = lease_of(subject, id) end
      if found then
        records[subject] = found.parts
        if found.lapses > subject.freed then status = 0 end
        remove_lease(subject, found, place)
      end
    end
    for _, term in ipairs(op ~= RELEASE and terms or {}) do
      local parts = records[term.subject]
      -- A shadow limit that did not admit the reservation keeps the window it would have had: without it.
      if not (parts and term.is_shadow and not has(parts, term.id)) then charge(term, term.cost) end
    end
    return status
  end

  -- Forgets a limit: its section, its long window, and its part of each lease.
  local function forget(subject, id)
    local section = section_of(subject, id)
    if section then
      if section.form == LONG then call('DEL', window_key(subject, section)) end
      section.form, section.total, section.held, section.newest = PLAIN, 0, 0, 0
      section.ends, section.oldest, section.body, subject.dirty = 0, 0, '', true
    end
    -- A part of nothing stays: it says that the limit has admitted the lease.
    local function without(parts)
      local kept = {}
      each_part(parts, function(limit, amount) kept[#kept + 1] = pack('<I4I6', limit, limit == id and 0 or amount) end)
      return table.concat(kept)
    end
    for _, lease in ipairs(subject.leases) do lease.parts = without(lease.parts) end
    local all = subject.spilled and call('HGETALL', further(subject, 'held')) or {}
    for n = 1, #all, 2 do call('HSET', further(subject, 'held'), all[n], without(all[n + 1])) end
  end

  local function reset(plan, first)
    local m = 7
    for j = 1, plan[2] do
      local key, count = KEYS[first + j - 1], plan[m]
      if count > 0 then
        local subject = load(key)
        if subject.earliest > 0 and subject.earliest <= now_ms then reap(subject, plan[4]) end
        for d = m + 1, m + 10 * count, 10 do forget(subject, plan[d]) end
        if subject.dirty then store(subject) end
      else
        local is_ours, subject = pcall(load, key)
        if not is_ours then subject = { key = key, sections = {}, spilled = true } end
        for _, section in ipairs(subject.sections) do
          if section.form == LONG then call('DEL', window_key(subject, section)) end
        end
        -- One by one, and only those there are: in a slot on its way a command finds no key that is missing.
        if subject.spilled then
          call('DEL', further(subject, 'leases'))
          call('DEL', further(subject, 'held'))
        end
        call('DEL', key)
      end
      m = m + 1 + 10 * count
    end
  end

  local function decide(plan, first, costs, from)
    local op = plan[1]
    if op == RESET then
      reset(plan, first)
      return pack('<BBI6', 0, 0, 0)
    end
    local whole = plan[5] and sub(ARGV[2], from, from + 13)
    local id, epoch = whole and sub(whole, 1, 8), whole and unpack('<I6', whole, 9)
    local asks = (op == CHECK or op == RESERVE) and op
    local subjects, terms = see(plan, first, costs, op ~= RENEW and op ~= RELEASE, asks)
    local status, decider, retry = 0, 0, 0
    if asks then status, decider, retry = judge(terms) end
    if op == CHECK then
      for _, term in ipairs(status == 0 and terms or {}) do
        if term.wait == 0 then charge(term, term.cost) end
      end
    elseif op == RESERVE then
      if status == 0 then
        status = reserve(plan, subjects, terms, id)
        retry = status == 0 and subjects[1].epoch or 0
      elseif lease_of(subjects[1], id) then
        status = 5
      end
    elseif op == RENEW then
      status = renew(plan, subjects, id)
    elseif op == USAGE then
      if whole and notes(subjects[1], sub(whole, 1, 12), plan[4]) then
        status = 5
      else
        for _, term in ipairs(terms) do charge(term, term.cost) end
      end
    else
      status = settle(op, plan, subjects, terms, id, epoch)
    end
    if status > 3 then
      decider, retry = 0, 0
      for _, term in ipairs(terms) do term.wait = 0 end
    end
    local states = {}
    for i, term in ipairs(terms) do
      local held, flags = term.section and term.section.held or 0, 0
      if term.wait ~= 0 then flags = (term.is_shadow and 2 or 1) + (term.wait < 0 and 4 or 0) end
      states[3 * i - 2], states[3 * i - 1], states[3 * i] = math.min(term.total + held, MOST), term.reset, flags
    end
    for _, subject in ipairs(subjects) do
      if subject.dirty then store(subject) end
    end
    return pack('<BBI6' .. ('I6I6B'):rep(#terms), status, decider, retry, values(states))
  end

  return function(plan, first, costs, from)
    local whole, answer = pcall(decide, plan, first, costs, from)
    if whole then return answer end
    return '!' .. (type(answer) == 'table' and answer.err or answer)
  end
end
