-- decide.lua goes on: the operations, and the batch. KEYS, ARGV and the reply as said there.

-- Puts the call's subjects and terms before the functions above, from byte `at` on; the subjects, and the term count.
local function see(argument, first, subjects, at, keeps, asks)
  local seen, i = {}, 0
  for j = 1, subjects do
    local subject, count = load(KEYS[first + j - 1]), byte(argument, at)
    seen[j] = subject
    if subject.earliest > 0 and subject.earliest <= now_ms then reap(subject) end
    local terms = { unpack(term_formats[count] or repeated(term_formats, 'BI6I6', count), argument, at + 1) }
    at = terms[3 * count + 1]
    for n = 1, count do
      i = i + 1
      local index, quota, cost, heads = terms[3 * n - 2], terms[3 * n - 1], terms[3 * n], subject.heads
      local rule = definitions[index] or define(index)
      local k = heads[8 * n - 7] == rule.id and n <= subject.count and n or place(subject, rule.id)
      owners[i], places[i], rules[i], costs[i], waits[i] = subject, k, rule, cost, 0
      if rule.kind == 1 then
        see_calendar(i, subject, k, rule, keeps and (cost > 0 or asks and rule.floor > 0))
      elseif rule.kind == 0 and k > 0 then
        local from, window = 8 * k - 8, rule.window
        local oldest, left = heads[from + 8], heads[from + 6] + window - redis_now
        if
          left <= window and heads[from + 7] * 1000 >= left + redis_now and heads[from + 2] >= 8
          and (redis_now - oldest) % WRAP < window and heads[from + 4] > 0
        then
          -- By far the commonest: nothing has left the window.
          left = left + 999
          totals[i], gones[i], oldests[i], resets[i] = heads[from + 4], 0, oldest, (left - left % 1000) / 1000
        else
          see_sliding(i, subject, k, window, keeps and (cost > 0 or asks and rule.floor > 0))
        end
      else
        totals[i], gones[i], oldests[i], resets[i] = 0, 0, 0, 0
        if rule.kind == 2 and asks == CHECK then costs[i], cost = 0, 0 end
      end
      if asks and cost < 1 then cost = rule.floor end
      if asks and cost > 0 then
        local held = k > 0 and heads[8 * k - 3] or 0
        if totals[i] + held + cost > quota then
          while held > 0 and subject.more and #subject.freed < REAPED and totals[i] + held + cost > quota do
            reap(subject)
            held = heads[8 * k - 3]
          end
          if totals[i] + held + cost > quota then waits[i], leasts[i] = wait(i, held, quota, cost) end
        end
      end
    end
  end
  return seen, i
end

-- Status, deciding term, and longest retry and least wait of a check or reserve.
local function judge(terms)
  local status, decider, longest, retry, least = 0, 0, 0, 0, 0
  for i = 1, terms do
    local waiting = waits[i]
    if waiting ~= 0 and not rules[i].shadow then
      local rank = waiting < 0 and 2 or (rules[i].kind == 2 and 3 or 1)
      if waiting > retry then retry = waiting end
      if leasts[i] > least then least = leasts[i] end
      if rank > status or (rank == status and waiting > longest) then status, decider, longest = rank, i, waiting end
    end
  end
  if status == 2 then return status, decider, 0, 0 end
  return status, decider, retry, least
end

-- The operations other than a check, and than what a reserve looks at first.
local function operate(op, status, seen, terms, argument, first, subjects, ttl, id, at)
  local function seen_key(first, id) return '{' .. KEYS[first] .. '}:seen:' .. id end
  local function has_lease(subject, id)
    if subject.earliest == 0 or (subject.lapsed and subject.lapsed[id]) then return false end
    return call('HEXISTS', further(subject, 'held'), id) == 1
  end

  -- Lets a lease of each subject lapse at `expiry`. Redis keeps what it holds a day longer, for `reap`.
  local function lease(subject, id, expiry, record)
    local leases, held = further(subject, 'leases'), further(subject, 'held')
    drop_freed(subject)
    -- What stands there while the bundle knows of no lease is of a bundle that has been evicted.
    if subject.earliest == 0 then call('DEL', leases, held) end
    if record then call('HSET', held, id, record) end
    call('ZADD', leases, expiry, id)
    call('PEXPIREAT', leases, expiry + DAY)
    call('PEXPIREAT', held, expiry + DAY)
    if subject.earliest == 0 or expiry < subject.earliest then subject.earliest = expiry end
    if expiry > subject.expiry then subject.expiry = expiry end
    subject.dirty = true
  end

  -- Redis must be able to write under the keys of a subject's leases before anything of the call is written.
  local function check_leases(subject)
    call('ZCARD', further(subject, 'leases'))
    call('HLEN', further(subject, 'held'))
  end

  local function reserve(seen, terms, id, ttl)
    local i = 1
    for j = 1, #seen do check_leases(seen[j]) end
    for j = 1, #seen do
      local subject, record = seen[j], {}
      while i <= terms and owners[i] == subject do
        record[#record + 1] = pack('<I4I6', rules[i].id, waits[i] == 0 and costs[i] or MOST)
        if waits[i] == 0 then
          if costs[i] > 0 then
            if places[i] == 0 then places[i] = new_place(subject, rules[i].id) end
            local at = 8 * places[i] - 3
            subject.heads[at] = subject.heads[at] + costs[i]
          end
        end
        i = i + 1
      end
      lease(subject, id, now_ms + ttl, table.concat(record))
    end
  end

  local function renew(seen, id, ttl)
    for j = 1, #seen do
      if not has_lease(seen[j], id) then return 4 end
      check_leases(seen[j])
    end
    for j = 1, #seen do lease(seen[j], id, now_ms + ttl) end
    return 0
  end

  -- Whether a shadow limit did not admit a lease, by its record.
  local function declined(record, id)
    for at = 1, #record, 10 do
      local limit, amount = unpack('<I4I6', record, at)
      if limit == id then return amount == MOST end
    end
    return false
  end

  local function settle(op, seen, terms, id, first, ttl)
    local status, mark = op == RELEASE and 4 or 0, seen_key(first, id)
    if id ~= '' and call('EXISTS', mark) == 1 then return 5 end
    local records = {}
    if op ~= USAGE then
      for j = 1, #seen do
        local record = free(seen[j], id)
        if record then records[seen[j]], status = record, 0 end
      end
    end
    for j = 1, #seen do
      if records[seen[j]] then check_leases(seen[j]) end
    end
    if id ~= '' then call('SET', mark, '', 'PX', ttl) end
    for i = 1, op ~= RELEASE and terms or 0 do
      local record = records[owners[i]]
      charged[i] = 0
      -- A shadow limit that did not admit the reservation keeps the window it would have had: without it. One that has
      -- come since was not asked, and is charged.
      if costs[i] > 0 and rules[i].kind ~= 2 and not (record and rules[i].shadow and declined(record, rules[i].id)) then
        charge(i, costs[i])
        charged[i] = 8
      end
    end
    return status
  end

  -- Forgets a limit: its section, its long window, and its part of each lease.
  local function forget(subject, id)
    local k, held = place(subject, id), further(subject, 'held')
    if k > 0 then
      local heads, at = subject.heads, 8 * k - 8
      if heads[at + 2] == LONG then call('DEL', window_key(subject, id)) end
      subject.raw = nil
      heads[at + 2], heads[at + 3], heads[at + 4], heads[at + 5], heads[at + 6], heads[at + 7] = 8, 0, 0, 0, 0, 0
      subject.bodies[k], subject.dirty = '', true
    end
    local leases = subject.earliest > 0 and call('HGETALL', held) or {}
    -- That the limit did not admit a lease stays: its settle charges nothing.
    for n = 1, #leases, 2 do
      local kept, record = {}, leases[n + 1]
      for at = 1, #record, 10 do
        local limit, amount = unpack('<I4I6', record, at)
        if limit ~= id or amount == MOST then kept[#kept + 1] = sub(record, at, at + 9) end
      end
      kept = table.concat(kept)
      if kept ~= record then call('HSET', held, leases[n], kept) end
    end
  end

  local function reset(argument, first, subjects, at)
    for j = 1, subjects do
      local key, count = KEYS[first + j - 1], byte(argument, at)
      at = at + 1
      if count > 0 then
        local subject = load(key)
        if subject.earliest > 0 and subject.earliest <= now_ms then reap(subject) end
        for n = 1, count do
          local index = byte(argument, at)
          forget(subject, (definitions[index] or define(index)).id)
          at = at + 13
        end
        if subject.dirty then store(subject) end
      else
        local known, subject = pcall(load, key)
        for k = 1, known and subject.count or 0 do
          if subject.heads[8 * k - 6] == LONG then call('DEL', window_key(subject, subject.heads[8 * k - 7])) end
        end
        if not known then subject = { key = key, earliest = 1 } end
        -- One by one, and only those there are: in a slot on its way a command finds no key that is missing.
        if subject.earliest > 0 then
          call('DEL', further(subject, 'leases'))
          call('DEL', further(subject, 'held'))
        end
        call('DEL', key)
      end
    end
  end

  if op == RESET then return reset(argument, first, subjects, at) end
  if op == RENEW then return renew(seen, id, ttl) end
  if op ~= RESERVE then return settle(op, seen, terms, id, first, ttl) end
  for j = 1, #seen do
    if has_lease(seen[j], id) then return 5 end
  end
  if call('EXISTS', seen_key(first, id)) == 1 then return 5 end
  if status == 0 then reserve(seen, terms, id, ttl) end
  return status
end

local function decide(argument, first, op, subjects, ttl, id, at)
  if op == RESET then
    operate(op, 0, nil, 0, argument, first, subjects, ttl, id, at)
    return pack('<BI2I6I6', 0, 0, 0, 0)
  end
  local asks = (op == CHECK or op == RESERVE) and op
  local seen, terms = see(argument, first, subjects, at, op ~= RENEW and op ~= RELEASE, asks)
  local status, decider, retry, least = 0, 0, 0, 0
  if asks then status, decider, retry, least = judge(terms) end
  if op == CHECK then
    for i = 1, status == 0 and terms or 0 do
      if costs[i] > 0 and waits[i] == 0 then charge(i, costs[i]) end
    end
  else
    status = operate(op, status, seen, terms, argument, first, subjects, ttl, id, at)
    if status > 3 then
      decider, retry, least = 0, 0, 0
      for i = 1, terms do waits[i] = 0 end
    end
  end
  local counts = (op == SETTLE or op == USAGE) and status == 0
  for i = 1, terms do
    local subject, k, flags = owners[i], places[i], counts and charged[i] or 0
    local held = k > 0 and subject.heads[8 * k - 3] or 0
    if waits[i] ~= 0 then
      flags = (rules[i].shadow and 2 or 1) + (waits[i] < 0 and 4 or 0) + (held > 0 and 16 or 0)
    end
    states[3 * i - 2] = math.min(totals[i] + held, MOST)
    states[3 * i - 1], states[3 * i] = resets[i], flags
  end
  for j = 1, subjects do
    if seen[j].dirty then store(seen[j]) end
  end
  local format = state_formats[terms] or repeated(state_formats, 'I6I6B', terms)
  return pack(format, values(states, 1, 3 * terms)), status, decider, retry, least
end

local reply, first = {}, 1
while first <= #KEYS do
  local argument = ARGV[#reply + 2]
  local op, subjects, ttl, id, at = unpack('<BBI4Bc0', argument)
  local whole, answer, status, decider, retry, least = pcall(decide, argument, first, op, subjects, ttl, id, at)
  if not whole then
    answer = '!' .. (type(answer) == 'table' and answer.err or answer)
  elseif status then
    answer = pack('<BI2I6I6', status, decider, retry, least) .. answer
  end
  reply[#reply + 1] = answer
  first = first + subjects
end
return reply
