
  -- decide-operations.lua: the operations, each over the request's subjects and terms.

  -- Takes note that a subject will have another section, or fails before anything is written.
  local function expect_section(subject)
    subject.missing = (subject.missing or 0) + 1
    if #subject.sections + subject.missing > 255 then error('ERR too many limits under one key', 0) end
  end

  -- Decodes a plan, as decide.lua says it: its subjects' terms and what these come to now.
  local function see(request, keeps, asks)
    local plan, subjects, terms, at = request.plan, {}, {}, request.plan_at
    for j = 1, request.subjects do
      local subject, count = load(KEYS[request.first_key + j - 1]), nil
      subjects[j] = subject
      count, subject.bound, at = unpack('<BI3', plan, at)
      if subject.bound > 0 then expect_value(subject) end
      if subject.earliest > 0 and subject.earliest <= now_ms then reap(subject, request.remember) end
      for _ = 1, count do
        local limit, kind, flags, a, b, c, d, quota, amount, cost
        limit, kind, flags, a, b, c, d, quota, amount, cost, at = unpack('<I4BBI5I5I5I5I6BI6', plan, at)
        local tells = 0
        if flags > 3 then tells, at = at, at + 1 + 6 * byte(plan, at) end
        cost = amount > 0 and request.amounts[amount] or cost
        local need = cost
        if cost == MOST then
          cost, need = 0, 1
        elseif cost > quota and flags % 4 > 1 then
          cost, need = quota, quota
        end
        -- A check takes no slot, and asks for one.
        if kind == CONCURRENCY and asks == CHECK then cost = 0 end
        local term = {
          subject = subject, limit = limit, kind = kind, is_shadow = flags % 2 == 1, window = a * 1000,
          periods = { a * 1000, b * 1000, c * 1000, d * 1000 }, quota = quota, cost = cost,
          section = section_of(subject, limit), wait = 0, least = 0, is_charged = false, plan = plan, tells = tells,
        }
        terms[#terms + 1] = term
        if not term.section and cost > 0 and request.operation ~= REFUND then expect_section(subject) end
        look(term, keeps and need > 0)
        if asks and need > 0 then
          local section = term.section
          local function held() return section and section.held or 0 end
          local function lacks() return term.total + held() + need > quota end
          while lacks() and subject.has_more_lapsed and held() > 0 and subject.reaped < REAPED do
            reap(subject, request.remember)
            -- What they held may have kept a lifetime that was idle.
            if kind == LIFETIME then look(term, keeps) end
          end
          if lacks() then term.wait, term.least = wait(term, held(), need) end
        end
      end
    end
    return subjects, terms
  end

  -- Status, deciding term, and longest retry and least wait of a check or reserve.
  local function judge(terms)
    local status, decider, longest, retry, least = DONE, 0, 0, 0, 0
    for i, term in ipairs(terms) do
      local waiting = term.wait
      if waiting ~= 0 and not term.is_shadow then
        local rank = waiting < 0 and FOR_GOOD or (term.kind == CONCURRENCY and AT_CAPACITY or 1)
        retry, least = math.max(retry, waiting), math.max(least, term.least)
        if rank > status or (rank == status and waiting > longest) then status, decider, longest = rank, i, waiting end
      end
    end
    if status == FOR_GOOD then return status, decider, 0, 0 end
    return status, decider, retry, least
  end

  -- Whether one of the subjects knows of a lease.
  local function is_known(request, subjects)
    for _, subject in ipairs(subjects) do
      if lease_of(subject, request.id, request.remember) then return true end
    end
    return false
  end

  local function reserve(request, subjects, terms)
    local given, latest = now_ms, 0
    for _, subject in ipairs(subjects) do
      check_leases(subject)
      given = math.max(given, subject.latest)
    end
    for _, subject in ipairs(subjects) do
      local parts = {}
      for _, term in ipairs(terms) do
        if term.subject == subject then
          parts[#parts + 1] = pack('<I4I6', term.limit, term.wait == 0 and term.cost or MOST)
          if term.wait == 0 and term.cost > 0 then
            local section = term.section or section_of(subject, term.limit, true)
            if section.is_new and term.kind == SLIDING then section.form = 8 end
            -- What a lifetime counted that has been idle must not count again because of what is held now.
            if term.kind == LIFETIME and not term.stands and section.total + section.oldest > 0 then
              begin_anew(term, section)
            end
            section.held, term.section = section.held + term.cost, section
          end
        end
      end
      note_given(subject, given)
      local lapses = lapse_of(subject, request.life)
      latest = math.max(latest, lapses)
      put_lease(subject, request.id, lapses, table.concat(parts), request.remember)
    end
    return DONE, given, latest
  end

  local function renew(request, subjects)
    local found, latest = {}, 0
    for j, subject in ipairs(subjects) do
      found[j] = lease_of(subject, request.id, request.remember)
      if not found[j] or found[j].lapses <= subject.freed then return NO_LEASE, 0, 0 end
      check_leases(subject)
    end
    for j, subject in ipairs(subjects) do
      local lapses = lapse_of(subject, request.life)
      latest = math.max(latest, lapses)
      put_lease(subject, request.id, lapses, found[j].parts, request.remember)
    end
    return DONE, now_ms, latest
  end

  local function charge_all(terms, parts_of)
    for _, term in ipairs(terms) do
      local parts = parts_of[term.subject]
      -- A shadow limit that did not admit the reservation keeps the window it would have had: without it. One that has
      -- come since was not asked, and is charged.
      if term.cost > 0 and term.kind ~= CONCURRENCY
        and not (parts and term.is_shadow and declined(parts, term.limit))
      then
        charge(term, term.cost)
        term.is_charged = true
      end
    end
  end

  -- Ends a lease. One that is not there has been ended before, or had lapsed so long ago that nothing is known of it;
  -- or it cannot have been given by what is known of the subject's leases, because Redis has lost it: then it is charged
  -- once.
  local function finish(request, subjects, terms)
    local first, status = subjects[1], DONE
    local found, place = lease_of(first, request.id, request.remember)
    if found then
      if request.operation == RELEASE and found.lapses <= first.freed then status = NO_LEASE end
    else
      if now_ms >= request.lapses + request.remember then return TOO_LATE end
      if may_have_given(first, request.first_given, request.given) then return REPEATED end
      local asked_until = math.max(now_ms, request.lapses) + request.remember
      if notes(first, request.id .. '\0\0\0\0', asked_until - now_ms) then return REPEATED end
      if request.operation == RELEASE then status = NO_LEASE end
    end
    local parts_of = {}
    for j, subject in ipairs(subjects) do
      if j > 1 then found, place = lease_of(subject, request.id, request.remember) end
      if found then
        check_leases(subject)
        parts_of[subject] = found.parts
        if found.lapses > subject.freed then status = DONE end
        remove_lease(subject, found, place)
      end
    end
    if request.operation == SETTLE then charge_all(terms, parts_of) end
    return status
  end

  -- Makes each lease's part of a limit nothing, or every part. That a limit did not admit a lease stays: its settle
  -- charges nothing.
  local function empty_parts(subject, limit)
    local function without(parts)
      local kept = {}
      each_part(parts, function(id, amount)
        kept[#kept + 1] = pack('<I4I6', id, (id == limit or not limit) and amount < MOST and 0 or amount)
      end)
      return table.concat(kept)
    end
    for _, lease in ipairs(subject.leases) do
      local parts = without(lease.parts)
      if parts ~= lease.parts then lease.parts, subject.is_dirty = parts, true end
    end
    local held = further(subject, 'held')
    local all = subject.is_spilled and call('HGETALL', held) or {}
    for n = 1, #all, 2 do
      local parts = without(all[n + 1])
      if parts ~= all[n + 1] then call('HSET', held, all[n], parts) end
    end
  end

  -- Forgets a limit: its section, its long window, and its part of each lease.
  local function forget(subject, limit)
    local section = section_of(subject, limit)
    if section then
      if section.form == LONG then call('DEL', window_key(subject, section)) end
      section.form, section.total, section.held, section.newest = PLAIN, 0, 0, 0
      section.ends, section.oldest, section.body, subject.is_dirty = 0, 0, '', true
    end
    empty_parts(subject, limit)
  end

  -- Forgets all limits, and says whether the bundle stays. Which leases have been ended stays known.
  local function forget_all(key, remember)
    local is_ours, subject = pcall(load, key)
    if not is_ours then subject = { key = key, sections = {}, is_spilled = true, epoch = 0 } end
    if subject.epoch == 0 then return drop(subject) end
    for _, section in ipairs(subject.sections) do
      if section.form == LONG then call('DEL', window_key(subject, section)) end
    end
    if subject.earliest > 0 and subject.earliest <= now_ms then reap(subject, remember) end
    empty_parts(subject)
    subject.sections = {}
    store(subject)
    return true
  end

  -- Forgets these limits of a subject, or all where there are none, and says whether its bundle stays.
  local function forget_limits(key, limits, remember)
    if #limits == 0 then return forget_all(key, remember) end
    local subject = load(key)
    if subject.earliest > 0 and subject.earliest <= now_ms then reap(subject, remember) end
    for _, limit in ipairs(limits) do forget(subject, limit) end
    if subject.is_dirty then store(subject) end
    return not subject.is_new
  end

  local function reset(request)
    local at = request.plan_at
    for j = 1, request.subjects do
      local key, limits, count, bound = KEYS[request.first_key + j - 1], {}, nil, nil
      count, bound, at = unpack('<BI3', request.plan, at)
      for n = 1, count do
        limits[n], at = unpack('<I4BBI5I5I5I5I6BI6', request.plan, at), at + 39
      end
      if byte(key) ~= BRACE and (count == 0 or bound > 0) then
        each_value(key, bound > 0, function(value)
          local is_ours, stays = pcall(forget_limits, value, limits, request.remember)
          return is_ours and stays
        end)
      end
      forget_limits(key, limits, request.remember)
    end
    return pack('<BI2I6I6', DONE, 0, 0, 0)
  end

  -- The id under which is noted which candidate of a check was admitted, beside the check's own.
  local function candidate_id(digest, candidate)
    return sub(digest, 1, 11) .. string.char((byte(digest, 12) + candidate) % 256)
  end

  -- Which candidate of a check was admitted before; 0 where that is not known.
  local function admitted_candidate(request, subject)
    for candidate = 1, CANDIDATES do
      if notes(subject, candidate_id(request.digest, candidate), request.remember, true) then return candidate end
    end
    return 0
  end

  local function decide(request)
    local operation, is_dry = request.operation, request.operation > REFUND
    if operation == RESET then return reset(request) end
    if is_dry then operation = operation - REFUND end
    local asks = (operation == CHECK or operation == RESERVE) and operation
    local subjects, terms = see(request, not is_dry and operation ~= RENEW and operation ~= RELEASE, asks)
    local status, decider, retry, least, candidate = DONE, 0, 0, 0, 0
    if asks then status, decider, retry, least = judge(terms) end
    if is_dry then
      if request.digest and notes(subjects[1], request.digest, request.remember, true) then status = REPEATED end
    elseif operation == CHECK then
      -- The id of one that is denied is not noted, nor is that of one without terms: it asks for the id alone.
      local looks = status ~= DONE or #terms == 0
      if request.digest and notes(subjects[1], request.digest, request.remember, looks) then status = REPEATED end
      for _, term in ipairs(status == DONE and terms or {}) do
        if term.wait == 0 then charge(term, term.cost) end
      end
    elseif operation == RESERVE then
      if is_known(request, subjects) then
        status = REPEATED
      elseif status == DONE then
        status, retry, least = reserve(request, subjects, terms)
      end
    elseif operation == RENEW then
      status, retry, least = renew(request, subjects)
    elseif operation == USAGE or operation == REFUND then
      if request.digest and notes(subjects[1], request.digest, request.remember) then
        status = REPEATED
      elseif operation == USAGE then
        charge_all(terms, {})
      else
        for _, term in ipairs(terms) do term.is_charged = take_back(term, term.cost) end
      end
    else
      status = finish(request, subjects, terms)
    end
    if asks == CHECK and request.digest and request.candidate > 0 then
      if status == REPEATED then
        candidate = admitted_candidate(request, subjects[1])
      elseif status == DONE and not is_dry and #terms > 0 then
        notes(subjects[1], candidate_id(request.digest, request.candidate), request.remember)
      end
    end
    if status >= NO_LEASE then
      decider, retry, least = candidate, 0, 0
      for _, term in ipairs(terms) do term.wait = 0 end
    end
    for _, subject in ipairs(subjects) do
      if subject.is_dirty then store(subject) end
    end
    -- After all are stored: the bundle that one makes room for another by must not come back.
    for _, subject in ipairs(subjects) do
      if subject.is_dirty and subject.bound > 0 then register(subject) end
    end
    local states, told = {}, ''
    for i, term in ipairs(terms) do
      local held, flags = term.section and term.section.held or 0, term.is_charged and 8 or 0
      if term.wait ~= 0 then
        flags = (term.is_shadow and 2 or 1) + (term.wait < 0 and 4 or 0) + (held > 0 and 16 or 0)
      end
      if term.subject.has_displaced then flags = flags + 32 end
      if term.crossed then flags, told = flags + 64, told .. term.crossed end
      states[3 * i - 2], states[3 * i - 1], states[3 * i] = math.min(term.total + held, MOST), term.reset, flags
    end
    if told ~= '' then told = told .. pack('<I6', now_ms) end
    return pack('<BI2I6I6' .. ('I6I6B'):rep(#terms), status, decider, retry, least, values(states)) .. told
  end

  return function(request)
    local is_whole, answer = pcall(decide, request)
    if is_whole then return answer end
    return '!' .. (type(answer) == 'table' and answer.err or answer)
  end
end
