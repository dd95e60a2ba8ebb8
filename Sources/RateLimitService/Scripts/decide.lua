
-- Decides a batch of requests, each under any number of limits of any number of subjects, on Redis's own clock. Of each
-- request everything is charged or nothing is. (The script is decide-bundle.lua, which says what is kept,
-- decide-leases.lua, decide-window.lua, decide-values.lua, decide-operations.lua and this, in that order.)
--
-- KEYS       the keys of the requests' subjects: those of the first request, then those of the second, and so on. No
--            key stands twice in one request.
-- ARGV[1]    a byte for each request: its plan, from 0
-- ARGV[2]    the requests' operands, one behind the other: where the plan has an id, 20 bytes, which are the id of a
--            lease in 8, when it was given I6 and when it lapses I6 as a reserve or renew replied them (the latest,
--            where several did), or the digest of a usage's id in 12 and 8 zeros; then the plan's amounts, I6 each
-- ARGV[3..]  the plans: operation B, subjects B, whether it has an id B, amounts B, how long a lease that is given or
--            renewed lives I4, for how long a lapsed lease and the id of a usage are remembered I4, both in
--            milliseconds; then for each subject the number of its terms B and the most values I3, and for each term, by ascending
--            limits:
--     limit I4, no limit twice under one subject
--     kind B: 0 sliding, 1 calendar, 2 concurrency
--     flags B: 1 shadow, 2 a cost above the quota is taken for the quota
--     four I5: the window in milliseconds and three zeros; or the Unix seconds at which the calendar's previous, this,
--       the next and the next but one period begin; or zeros
--     quota I6
--     amount B: the place of its cost among the amounts, from 1; 0: the cost follows
--     cost I6
-- The most values are how many subjects of its kind a user or a group may have, one for each value of what calls say;
-- 0: no bound. Such a subject has a key as decide-values.lua says.
--
-- A cost of 2^48 - 1 is one that is not known. It counts nothing, and asks for room all the same: a check or reserve is
-- denied where not even 1 is left.
--
--   1 check    admits where each cost fits under its quota, and charges; cost 0 looks; takes no concurrency slot, and
--              asks for one only where it costs one
--   2 reserve  admits likewise, also slots, and holds instead, under a lease with that id
--   3 renew    lets the lease live for its life from now
--   4 settle   frees the lease and charges, never denies, once for each id; also where the lease has lapsed
--   5 release  frees the lease; a later settle of the id charges nothing
--   6 usage    charges, never denies, once for each id; without an id each time
--   7 reset    forgets what the terms' limits count and hold, or everything where a subject has none, then of each of
--              its values too, up to VALUES of them; a bound says that the terms' limits are to be forgotten there as
--              well. A later settle of a lease that stood charges all the same
--
-- Returns a string for each request: status B, deciding term I2 (from 1; 0 none), retry in milliseconds I6, how much of
-- the retry what is charged needs, however early leases end, I6, and for each term: used I6 (held costs included),
-- milliseconds until its window is empty I6, flags B (1 denied, 2 denied by a shadow limit, 4 for good, 8 charged by a
-- settle or usage, 16 denied while leases hold some of it, 32 another value's windows were forgotten for this subject).
-- An admitted reserve or renew has, in place of the two waits, when the lease was given, which is never before the first
-- subject's epoch, and when it lapses. A string that begins with ! is the error that failed this request alone; nothing
-- of it was charged. Status: 0 done, 1 denied, 2 denied for good, 3 at capacity, 4 no such lease, 5 the id was settled,
-- released or charged before, 6 so late that nothing is known of the lease. The term that decides is the one with the
-- longest retry, of the concurrency limits where one of them denies; each wait is the longest of all.
--
-- The hot path decides the commonest requests as straight code: a call of a Lua function, and one that is made, cost
-- more than all else. Whatever is not plainly that breaks off before anything was written, and is decided by the
-- functions of the files before. Both write the same bytes.
local values, byte, ceil, floor, concat = unpack, string.byte, math.ceil, math.floor, table.concat
local call, try, unpack, pack, sub, find = redis.call, redis.pcall, struct.unpack, struct.pack, string.sub, string.find
local MARK, LONG, PLAIN, SPILLED, WRAP, MOST, BRACE = 178, 1, 0, 255, 281474976710656, 281474976710655, 123
local SMALL, HOME, EXACT, SLACK, INLINE, HOUR = 1024, 64, 1024, 256, 16, 3600000
local CHECK, RESERVE, SETTLE, USAGE = 1, 2, 4, 6
local SLIDING, CALENDAR, CONCURRENCY = 0, 1, 2
local HEADER, HEADER_LENGTH, HEAD, HEAD_LENGTH = '<BBBI6I6I6I6', 27, '<I4BI2I6I6I7I6I6', 38
local ALONE, ALONE_LENGTH = '<BBBI6I6I6I6I4BI2I6I6I7I6I6', 65
-- Where a plan's parts stand in its table: first its own, then for each subject the number of its terms, its BOUND and
-- the terms.
local OPERATION, SUBJECTS, HAS_ID, AMOUNTS, LIFE, REMEMBER, TEXT, BODY, TERMS, BOUND = 1, 2, 3, 4, 5, 6, 7, 8, 9, 1
-- Where a term's parts stand from its first, the limit, on. A sliding window has its length as WINDOW in microseconds,
-- and as ENDS when a charge of now has left it; a calendar START and STOP of this period; in milliseconds.
local KIND, FLAGS, WINDOW, START, STOP, ENDS, QUOTA, AMOUNT, COST, WIDTH = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
local clock = call('TIME')
local redis_now = clock[1] * 1000000 + clock[2]
local now_ms, entry_now = floor(redis_now / 1000), redis_now % WRAP
local operands, operand, plans, costs, formats, instants, reply, first, slow = ARGV[2], 1, {}, {}, {}, {}, {}, 1, nil
local tries_hot_path = true

for r = 1, #ARGV[1] do
  local index = byte(ARGV[1], r)
  local plan = plans[index]
  if not plan then
    local text = ARGV[3 + index]
    local operation, subjects, has_id, amounts, life, remember, at = unpack('<BBBBI4I4', text)
    plan = { operation, subjects, has_id == 1, amounts, life, remember, text, at, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
    local m = TERMS
    for _ = 1, subjects do
      local terms, bound, first_term = unpack('<BI3', text, at)
      plan[m], plan[m + BOUND], m, at = terms, bound, m + 2, first_term
      for d = m, m + WIDTH * terms - 1, WIDTH do
        local limit, kind, flags, a, b, c, _, quota, amount, cost, after = unpack('<I4BBI5I5I5I5I6BI6', text, at)
        at = after
        plan[d], plan[d + KIND], plan[d + FLAGS], plan[d + QUOTA] = limit, kind, flags, quota
        plan[d + AMOUNT], plan[d + COST], plan[d + WINDOW], plan[d + START] = amount, cost, a * 1000, b * 1000
        plan[d + STOP], plan[d + ENDS] = c * 1000, ceil((redis_now + a * 1000) / 1000)
      end
      m = m + WIDTH * terms
    end
    plans[index] = plan
  end

  local operation, subjects, from, answer = plan[OPERATION], plan[SUBJECTS], operand, nil
  if plan[HAS_ID] then operand = operand + 20 end
  for amount = 1, plan[AMOUNTS] do costs[amount], operand = unpack('<I6', operands, operand) end

  -- The plainest: a check of a short window that is alone in its bundle, of which nothing has to go.
  if operation == CHECK and subjects == 1 and plan[TERMS] == 1 and plan[TERMS + BOUND] == 0
    and plan[TERMS + 2 + KIND] == SLIDING and tries_hot_path
  then
    local key, d = KEYS[first], TERMS + 2
    local cost, window, text = costs[plan[d + AMOUNT]] or plan[d + COST], plan[d + WINDOW], try('GET', key)
    if text and #text > ALONE_LENGTH then
      local mark, count, leases, earliest, freed, expiry, epoch, limit, form, length, total, held, newest, ends, oldest,
        body = unpack(ALONE, text)
      if mark == MARK and count == 1 and leases == 0 and limit == plan[d] and form == 8 and total > 0 and held == 0
        and cost > 0 and cost < 65536 and newest <= redis_now and (redis_now - oldest) % WRAP < window
      then
        local quota = plan[d + QUOTA]
        if total + cost <= quota then
          if length < SMALL then
            ends, total = plan[d + ENDS], total + cost
            if ends > expiry then expiry = ends end
            text = pack(
              ALONE, MARK, 1, 0, earliest, freed, expiry, epoch, limit, 8, length + 8, total, 0, redis_now, ends, oldest
            ) .. sub(text, body) .. pack('<I6I2', entry_now, cost)
            local instant = instants[expiry]
            if not instant then
              instant = ('%d'):format(expiry)
              instants[expiry] = instant
            end
            local done = try('SET', key, text, 'PXAT', instant)
            answer = done.err and '!' .. done.err or pack('<BI2I6I6I6I6B', 0, 0, 0, 0, total, window / 1000, 0)
          end
        elseif cost <= quota and plan[d + FLAGS] % 2 == 0 and ends * 1000 >= newest + window then
          -- It passes when so many of the oldest entries have left that there is room.
          local left, at, time, charged = total, body, nil, nil
          repeat
            time, charged, at = unpack('<I6I2', text, at)
            left = left - charged
          until left + cost <= quota
          local retry = ceil((window - (redis_now - time) % WRAP) / 1000)
          answer = pack('<BI2I6I6I6I6B', 1, 1, retry, retry, total, ceil((newest + window - redis_now) / 1000), 1)
        end
      end
    end
  end

  -- The hot path proper. What is plain no longer breaks off. (A loop that is left by `break` is Lua's way to go on
  -- below.)
  if not answer and tries_hot_path then repeat
    local m, id, is_plain = TERMS, nil, true
    if operation == RESERVE or operation == SETTLE then
      id = sub(operands, from, from + 7)
    elseif operation ~= CHECK and (operation ~= USAGE or plan[HAS_ID]) then
      break
    end
    local asks, charges = operation <= RESERVE, operation ~= RESERVE
    local charged, lapses = operation > RESERVE and 8 or 0, now_ms + plan[LIFE]
    -- What will be written: key, text and when it expires, three by three; a negative time says that the text is
    -- appended. And how each term stands: used, reset and flags.
    local writes, n, states, s, retry = {}, 0, {}, 0, 0

    for j = first, first + subjects - 1 do
      local key, terms, bound = KEYS[j], plan[m], plan[m + BOUND]
      local text = try('GET', key)
      local mark, count, leases, earliest, freed, expiry, epoch, offset = MARK, 0, 0, 0, 0, 0, 0, HEADER_LENGTH + 1
      if text then
        if text.err or #text < HEADER_LENGTH then is_plain = false break end
        mark, count, leases, earliest, freed, expiry, epoch, offset = unpack(HEADER, text)
        if mark ~= MARK or leases == SPILLED or (earliest > 0 and earliest <= now_ms) then is_plain = false break end
      elseif bound > 0 then
        is_plain = false
        break
      end
      local stood_until = expiry

      -- The leases: where their records and their ids begin, the place of the request's among them, from 0, where its
      -- record begins and where its first part does.
      local ids_at, records_at = text and #text + 1 or offset, nil
      local place, record, part
      records_at = ids_at
      if leases > 0 then
        ids_at = ids_at - 8 * leases
        if ids_at < offset + 2 then is_plain = false break end
        records_at = ids_at - 2 - unpack('<I2', text, ids_at - 2)
        if id then
          place = find(text, id, ids_at, true)
          while place and (place - ids_at) % 8 > 0 do place = find(text, id, place + 1, true) end
        end
      end
      if operation == SETTLE then
        if not place then is_plain = false break end
        place, record = (place - ids_at) / 8, records_at
        for _ = 1, place do record = record + 7 + 10 * byte(text, record + 6) end
        local lapses, parts = unpack('<I6B', text, record)
        if lapses <= freed or parts ~= terms then is_plain = false break end
        part = record + 7
      elseif operation == RESERVE then
        if leases >= INLINE or place or freed > now_ms then is_plain = false break end
        record = pack('<I6B', lapses, terms)
      end

      -- The terms, beside the sections. `parts` becomes the new text: what is kept of the old one from `kept` on, and
      -- what has changed.
      local parts, p, kept, seen, had, is_dirty = { '' }, 1, offset, 0, count, id ~= nil
      for d = m + 2, m + 1 + WIDTH * terms, WIDTH do
        local limit, kind, quota, cost, need = plan[d], plan[d + KIND], plan[d + QUOTA], costs[plan[d + AMOUNT]], nil
        cost = cost or plan[d + COST]
        if cost == MOST then
          cost, need = 0, 1
        else
          if cost > quota and plan[d + FLAGS] > 1 then cost = quota end
          need = cost
        end
        local section, form, length, total, held, newest, ends, oldest, body
        while seen < had do
          if offset + HEAD_LENGTH > records_at then is_plain = false break end
          section, form, length, total, held, newest, ends, oldest, body = unpack(HEAD, text, offset)
          if section >= limit then break end
          seen, offset = seen + 1, body + length
        end
        local start, stop = offset, offset
        if section == limit then
          seen, stop = seen + 1, body + length
          offset = stop
        else
          -- A section that comes to others makes room first: that is not plain.
          if had > 0 then is_plain = false break end
          form, total, held, newest, ends, oldest, body = kind == SLIDING and 8 or PLAIN, 0, 0, 0, 0, 0, offset
        end
        if newest > redis_now then is_plain = false break end

        -- What the window counts now, and how long until it is empty.
        local counted, reset, gone, first_left, size, dead, merged, live = total, 0, body, oldest, form
        if kind == SLIDING then
          local window = plan[d + WINDOW]
          if form == LONG then
            local long, chunk, at = (byte(key) == BRACE and '%s}:w:%08x' or '{%s}:w:%08x'):format(key, limit), nil, nil
            size, dead, merged, live = unpack('<BI2I2I2', text, body)
            -- Redis may have evicted it.
            if try('STRLEN', long) ~= (dead + live) * size then is_plain = false break end
            while counted > 0 and (redis_now - first_left) % WRAP >= window do
              if not chunk then chunk, at = call('GETRANGE', long, dead * size, (dead + HOME) * size - 1), 1 end
              if at + 2 * size - 1 > #chunk then is_plain = false break end
              local _, gone_cost = unpack(size == 8 and '<I6I2' or '<I6I6', chunk, at)
              at, dead, live, counted = at + size, dead + 1, live - 1, counted - gone_cost
              if merged > 0 then merged = merged - 1 end
              first_left = unpack('<I6', chunk, at)
            end
          elseif form ~= PLAIN or total == 0 then
            while counted > 0 and (redis_now - first_left) % WRAP >= window do
              local _, gone_cost = unpack(form == 8 and '<I6I2' or '<I6I6', text, gone)
              counted, gone = counted - gone_cost, gone + form
              first_left = gone < stop and unpack('<I6', text, gone) or 0
            end
          else
            is_plain = false
            break
          end
          if not is_plain then break end
          if counted > 0 then
            -- A longer window has come, and no charge sets its expiry.
            if (operation == RESERVE or need > cost) and ends * 1000 < newest + window then is_plain = false break end
            reset = ceil((newest + window - redis_now) / 1000)
          end
        elseif kind == CALENDAR then
          local period, period_ends = plan[d + START], plan[d + STOP]
          if (form ~= PLAIN and total > 0) or now_ms < period or now_ms >= period_ends then is_plain = false break end
          if newest < period * 1000 then counted = 0 end
          if counted > 0 then
            if (operation == RESERVE or need > cost) and ends < period_ends then is_plain = false break end
            reset = period_ends - now_ms
          end
        elseif operation == CHECK then
          -- A check takes no slot, and asks for one.
          cost = 0
        end

        if operation == SETTLE then
          local limit_held, amount = unpack('<I4I6', text, part)
          if limit_held ~= limit or amount > held then is_plain = false break end
          held, part = held - amount, part + 10
        elseif asks then
          if need > 0 and counted + held + need > quota then is_plain = false break end
        end

        -- What becomes of the section: `start` up to `stop` of the text, whose body's entries stand from `gone` on.
        s = s + 3
        if not charges then
          held, record = held + cost, record .. pack('<I4I6', limit, cost)
          states[s - 2], states[s - 1], states[s] = counted + held, reset, 0
        elseif cost > 0 and kind ~= CONCURRENCY then
          if counted + cost > MOST then is_plain = false break end
          if kind == CALENDAR then
            form, length, body, stop, oldest, ends = PLAIN, 0, start, start, 0, plan[d + STOP]
            reset = ends - now_ms
          else
            if form == LONG then
              if (size == 8 and cost > 65535) or (live < HOME and merged == 0) or dead >= SLACK
                or live - merged >= EXACT + SLACK or counted == 0
              then
                is_plain = false
                break
              end
              oldest = first_left
            else
              if counted == 0 then
                form, gone, oldest = cost < 65536 and 8 or 12, stop, entry_now
              else
                if form == 8 and cost > 65535 then is_plain = false break end
                oldest = first_left
              end
              length = stop - gone + form
              if length > SMALL then is_plain = false break end
            end
            ends, reset = plan[d + ENDS], plan[d + WINDOW] / 1000
          end
          total, newest, is_dirty = counted + cost, redis_now, true
          if ends > expiry then expiry = ends end
          states[s - 2], states[s - 1], states[s] = total + held, reset, charged
        else
          states[s - 2], states[s - 1], states[s] = counted + held, reset, 0
          cost = 0
        end

        if cost > 0 or operation == SETTLE and section == limit then
          if kept < start then
            p = p + 1
            parts[p] = sub(text, kept, start - 1)
          end
          kept = offset
          if section ~= limit then count = count + 1 end
          local is_charged = charges and cost > 0
          p = p + 1
          parts[p] = pack(HEAD, limit, form, is_charged and length or stop - body, total, held, newest, ends, oldest)
          if is_charged and kind == SLIDING then
            local entry = pack((form == LONG and size or form) == 8 and '<I6I2' or '<I6I6', entry_now, cost)
            if form == LONG then
              parts[p + 1] = pack('<BI2I2I2', size, dead, merged, live + 1)
              p = p + 1
              writes[n + 1], writes[n + 2], writes[n + 3] = (byte(key) == BRACE and '%s}:w:%08x' or '{%s}:w:%08x'):format(key, limit), entry, -ends
              n = n + 3
            else
              parts[p + 1], parts[p + 2] = sub(text or '', gone, stop - 1), entry
              p = p + 2
            end
          elseif stop > body then
            p = p + 1
            parts[p] = sub(text, body, stop - 1)
          end
        end
      end
      if not is_plain then break end

      -- The bundle: header, sections, and the leases with one more or one less.
      if is_dirty then
        if kept < records_at then
          p = p + 1
          parts[p] = sub(text, kept, records_at - 1)
        end
        if operation == RESERVE then
          if leases > 0 then record = sub(text, records_at, ids_at - 3) .. record end
          parts[p + 1], parts[p + 2] = record, pack('<I2', #record)
          parts[p + 3] = leases > 0 and sub(text, ids_at) .. id or id
          p = p + 3
          leases = leases + 1
          if epoch == 0 then epoch = now_ms end
          if retry == 0 then retry = epoch > now_ms and epoch or now_ms end
          if earliest == 0 or lapses < earliest then earliest = lapses end
          if lapses + plan[REMEMBER] > expiry then expiry = lapses + plan[REMEMBER] end
        elseif operation == SETTLE then
          leases = leases - 1
          if leases > 0 then
            local left = sub(text, records_at, record - 1) .. sub(text, part, ids_at - 3)
            parts[p + 1], parts[p + 2] = left, pack('<I2', #left)
            parts[p + 3] = sub(text, ids_at, ids_at + 8 * place - 1) .. sub(text, ids_at + 8 * place + 8)
            p = p + 3
          else
            earliest = 0
          end
        elseif leases > 0 then
          p = p + 1
          parts[p] = sub(text, records_at)
        end
        -- The set of values must outlive the bundle: decide-values.lua.
        if bound > 0 and floor(expiry / HOUR) > floor(stood_until / HOUR) then is_plain = false break end
        parts[1] = pack(HEADER, MARK, count, leases, earliest, freed, expiry, epoch)
        writes[n + 1], writes[n + 2], writes[n + 3] = key, concat(parts, '', 1, p), expiry
        n = n + 3
      end
      m = m + 2 + WIDTH * terms
    end
    if not is_plain then break end

    for w = 1, n, 3 do
      local key, text, ends = writes[w], writes[w + 1], writes[w + 2]
      local done
      if ends < 0 then
        done = try('APPEND', key, text)
        if type(done) == 'number' then done = try('PEXPIREAT', key, -ends) end
      else
        local instant = instants[ends]
        if not instant then
          instant = ('%d'):format(ends)
          instants[ends] = instant
        end
        done = try('SET', key, text, 'PXAT', instant)
      end
      if type(done) == 'table' and done.err then answer = '!' .. done.err end
    end
    if not answer then
      local format = formats[s]
      if not format then
        format = '<BI2I6I6' .. ('I6I6B'):rep(s / 3)
        formats[s] = format
      end
      answer = pack(format, 0, 0, retry, retry > 0 and lapses or 0, values(states, 1, s))
    end
  until true end

  if not answer then
    slow = slow or make(redis_now)
    local request = {
      operation = operation, subjects = subjects, life = plan[LIFE], remember = plan[REMEMBER], first_key = first,
      plan = plan[TEXT], plan_at = plan[BODY], amounts = costs,
    }
    if plan[HAS_ID] then
      request.id, request.digest = sub(operands, from, from + 7), sub(operands, from, from + 11)
      request.given, request.lapses = unpack('<I6I6', operands, from + 8)
    end
    answer = slow(request)
  end
  reply[r] = answer
  first = first + subjects
end
return reply
