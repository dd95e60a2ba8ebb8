
-- Decides a batch of requests, each under any number of limits of any number of subjects, on Redis's own clock. Of each
-- request everything is charged or nothing is.
--
-- KEYS       the keys of the requests' subjects: those of the first request, then those of the second, and so on. No
--            key and no limit stands twice in one request.
-- ARGV[1]    a byte for each request: its plan, from 0
-- ARGV[2]    the requests' operands, one behind the other: where the plan has an id, the id of a lease in 8 bytes and the
--            epoch it was given in I6, or the digest of a usage's id in 12 bytes and two zeros; then the plan's amounts,
--            I6 each, of which the largest possible stands for one that is not known
-- ARGV[3..]  the plans: operation B, subjects B, whether it has an id B, amounts B, time to live in milliseconds I4 (of the
--            lease that is given or renewed), for how long a lease that lapsed and the id of a usage are known in
--            milliseconds I4; then for each subject the number of its terms B, and for each term, by ascending limits:
--            limit I4, kind B (0 sliding, 1 calendar, 2 concurrency), flags B (1 shadow, 2 a cost above the quota is taken
--            for the quota), four I5 (the window in milliseconds and three zeros; or the Unix seconds at which the
--            calendar's previous, this, the next and the next but one period begin; or zeros), quota I6, amount B (the
--            place of its cost among the amounts, from 1; 0: the cost follows), cost I6. A cost that is not known is 0, and
--            asks for room all the same: a check or reserve is denied where not even 1 is left.
--
--   1 check    admits where each cost fits under its quota, and charges; cost 0 looks; takes no concurrency slot, and
--              asks for one only where the limit needs room
--   2 reserve  admits likewise, also slots, and holds instead, under a lease with that id
--   3 renew    lets the lease live for so long from now
--   4 settle   frees the lease and charges, never denies, once for each id; also where the lease has lapsed
--   5 release  frees the lease; a later settle of the id charges nothing
--   6 usage    charges, never denies, once for each id; without an id each time
--   7 reset    forgets what the terms' limits count and hold, or everything where a subject has none; a later settle of
--              a lease that stood charges all the same
--   8 settle of a lease that is older than anything known of it can be: charges only where the lease still stands
--
-- Returns a string for each request: status B, deciding term B (from 1; 0 none), retry in milliseconds I6 (of an admitted
-- reserve: the epoch of the first subject), and for each term: used I6 (held costs included), milliseconds until its
-- window is empty I6, flags B (1 denied, 2 denied by a shadow limit, 4 for good). A string that begins with ! is the
-- error that failed this request alone; nothing of it was charged. Status: 0 done, 1 denied, 2 denied for good, 3 at
-- capacity, 4 no such lease, 5 the id was settled, released or charged before, 6 too late to tell. The term that decides
-- is the one with the longest retry, of the concurrency limits where one of them denies; the retry is the longest of all.
--
-- A subject's state is one string, the bundle, little endian: mark B (178), sections B, leases B, the time in
-- milliseconds before which no lease lapses I6 (0: no lease is held), the latest lapse whose lease holds nothing any more
-- I6, when the key expires I6, the epoch I6. Then the sections: limit I4, form B, length I2 of its body, total I6, held I6,
-- newest I7 (the time of the last charge in microseconds), ends in milliseconds I6, oldest I6 (modulo 2^48), the body.
--   form 8, 12  sliding: entries of time I6 (microseconds modulo 2^48) and cost I2 or I6, oldest first
--   form 1      sliding, long: size B, dead I2, merged I2, live I2 of the entries in {key}:w:<limit in hex>
--   form 0      no body: a calendar's total, of the period that contains `newest`; or a concurrency limit
-- Then, where there are leases in it, a record for each: lapses in milliseconds I6, parts B, for each part limit I4 and
-- amount I6; the records' length I2; and the leases' ids, 8 bytes each. More than INLINE leases (leases is 255) are in
-- {key}:leases, a sorted set of ids by lapse, and {key}:held, a hash of their parts.
--
-- The script first tries the lean path, which decides the commonest requests as straight code. Whatever is not plainly
-- that is decided by the functions of the files behind, which are made only when they are needed: to make them takes
-- Redis longer than most decisions. Both write the same bytes.

-- Everything else. Called at most once in a batch: to make these functions costs more than most decisions.
local values, byte, ceil, floor, concat = unpack, string.byte, math.ceil, math.floor, table.concat
local call, try, unpack, pack, sub, find = redis.call, redis.pcall, struct.unpack, struct.pack, string.sub, string.find
local MARK, LONG, PLAIN, SPILLED, WRAP, MOST = 178, 1, 0, 255, 281474976710656, 281474976710655
local SMALL, HOME, EXACT, SLACK, INLINE = 1024, 64, 1024, 256, 16
local CHECK, RESERVE, SETTLE, USAGE = 1, 2, 4, 6
local HEADER, HEAD, ALONE = '<BBBI6I6I6I6', '<I4BI2I6I6I7I6I6', '<BBBI6I6I6I6I4BI2I6I6I7I6I6'
local clock = call('TIME')
local redis_now = clock[1] * 1000000 + clock[2]
local now_ms, entry_now = floor(redis_now / 1000), redis_now % WRAP
local operands, operand, plans, costs, formats, instants, reply, first, slow = ARGV[2], 1, {}, {}, {}, {}, {}, 1, nil

for r = 1, #ARGV[1] do
  local index = byte(ARGV[1], r)
  local plan = plans[index]
  if not plan then
    local text = ARGV[3 + index]
    local op, subjects, has_id, amounts, ttl, known, at = unpack('<BBBBI4I4', text)
    local n = 6
    plan = { op, subjects, ttl, known, has_id == 1, amounts, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
    for _ = 1, subjects do
      local terms = byte(text, at)
      n, at = n + 1, at + 1
      plan[n] = terms
      for _ = 1, terms do
        local id, kind, flags, a, b, c, d, quota, amount, cost
        id, kind, flags, a, b, c, d, quota, amount, cost, at = unpack('<I4BBI5I5I5I5I6BI6', text, at)
        plan[n + 1], plan[n + 2], plan[n + 3], plan[n + 8], plan[n + 9], plan[n + 10] = id, kind, flags, quota, amount, cost
        if kind == 0 then
          plan[n + 4], plan[n + 5], plan[n + 6], plan[n + 7] = a * 1000, 0, 0, ceil((redis_now + a * 1000) / 1000)
        else
          plan[n + 4], plan[n + 5], plan[n + 6], plan[n + 7] = a * 1000, b * 1000, c * 1000, d * 1000
        end
        n = n + 10
      end
    end
    plans[index] = plan
  end

  local op, subjects, from, answer = plan[1], plan[2], operand, nil
  if plan[5] then operand = operand + 14 end
  for amount = 1, plan[6] do costs[amount], operand = unpack('<I6', operands, operand) end
  if op == CHECK and subjects == 1 and plan[7] == 1 and plan[9] == 0 then
    -- The plainest: an admission in a short window that is alone in its bundle.
    local key, cost = KEYS[first], costs[plan[16]] or plan[17]
    local text = try('GET', key)
    if text and #text > 65 then
      local mark, count, leases, earliest, freed, expiry, epoch, limit, form, length, total, held, newest, ends, oldest, body =
        unpack(ALONE, text)
      if mark == MARK and count == 1 and leases == 0 and limit == plan[8] and form == 8 and cost > 0 and cost < 65536
        and total + held + cost <= plan[15] and length < SMALL and newest <= redis_now
        and (redis_now - oldest) % WRAP < plan[11] and total > 0
      then
        ends, total = plan[14], total + cost
        if ends > expiry then expiry = ends end
        text = pack(
          ALONE, MARK, 1, 0, earliest, freed, expiry, epoch, limit, 8, length + 8, total, held, redis_now, ends, oldest
        ) .. sub(text, body) .. pack('<I6I2', entry_now, cost)
        local instant = instants[expiry]
        if not instant then
          instant = ('%d'):format(expiry)
          instants[expiry] = instant
        end
        local done = try('SET', key, text, 'PXAT', instant)
        answer = done.err and '!' .. done.err or pack('<BBI6I6I6B', 0, 0, 0, total + held, plan[11] / 1000, 0)
      end
    end
  end
  if not answer then repeat
    -- The lean path: where anything is not plain it breaks off, and nothing has been done.
    local m, id, plain = 7, nil, true
    if op == RESERVE or op == SETTLE then
      id = sub(operands, from, from + 7)
    elseif op ~= CHECK and (op ~= USAGE or plan[5]) then
      break
    end
    local asks, charges = op <= RESERVE, op ~= RESERVE
    local writes, n, states, s, retry = {}, 0, {}, 0, 0

    for j = first, first + subjects - 1 do
      local key, own = KEYS[j], plan[m]
      local text = try('GET', key)
      local mark, count, leases, earliest, freed, expiry, epoch, offset = MARK, 0, 0, 0, 0, 0, 0, 28
      if text then
        if text.err then plain = false break end
        mark, count, leases, earliest, freed, expiry, epoch, offset = unpack(HEADER, text)
        if mark ~= MARK or leases == SPILLED or (earliest > 0 and earliest <= now_ms) then plain = false break end
      end
      -- Where the sections end, and the ids of leases begin; the lease's place among these, and its record's first byte.
      local ids_at, area, place, record, part = text and #text + 1 or 28
      area = ids_at
      if leases > 0 then
        ids_at = ids_at - 8 * leases
        area = ids_at - 2 - unpack('<I2', text, ids_at - 2)
        if id then
          place = find(text, id, ids_at, true)
          while place and (place - ids_at) % 8 > 0 do place = find(text, id, place + 1, true) end
        end
      end
      if op == SETTLE then
        if not place then plain = false break end
        place, record = (place - ids_at) / 8, area
        for _ = 1, place do record = record + 7 + 10 * byte(text, record + 6) end
        local lapses, parts = unpack('<I6B', text, record)
        if lapses <= freed or parts ~= own then plain = false break end
        part = record + 7
      elseif op == RESERVE then
        if leases >= INLINE or place then plain = false break end
        record = pack('<I6B', now_ms + plan[3], own)
      end

      local parts, p, kept, seen, had, dirty = { '' }, 1, offset, 0, count, id ~= nil
      for d = m + 1, m + 10 * own, 10 do
        local limit, kind, quota, cost, need = plan[d], plan[d + 1], plan[d + 7], costs[plan[d + 8]] or plan[d + 9]
        if cost == MOST then
          cost, need = 0, 1
        else
          if cost > quota and plan[d + 2] > 1 then cost = quota end
          need = cost
        end
        local sid, form, length, total, held, newest, ends, oldest, body
        while seen < had do
          sid, form, length, total, held, newest, ends, oldest, body = unpack(HEAD, text, offset)
          if sid >= limit then break end
          seen, offset = seen + 1, body + length
        end
        local start, stop = offset, offset
        if sid == limit then
          seen, stop = seen + 1, body + length
          offset = stop
        else
          -- A section that comes to others makes room first: that is not plain.
          if had > 0 then plain = false break end
          form, total, held, newest, ends, oldest, body = kind == 0 and 8 or PLAIN, 0, 0, 0, 0, 0, offset
        end
        if newest > redis_now then plain = false break end
        local counted, wait, gone, first_left, size, dead, merged, live = total, 0, body, oldest, form
        if kind == 0 then
          local window = plan[d + 3]
          if form == LONG then
            size, dead, merged, live = unpack('<BI2I2I2', text, body)
            local chunk, at
            while counted > 0 and (redis_now - first_left) % WRAP >= window do
              if not chunk then
                chunk, at = call('GETRANGE', ('{%s}:w:%08x'):format(key, limit), dead * size, (dead + HOME) * size - 1), 1
              end
              if at + 2 * size - 1 > #chunk then plain = false break end
              local _, charged = unpack(size == 8 and '<I6I2' or '<I6I6', chunk, at)
              at, dead, live, counted = at + size, dead + 1, live - 1, counted - charged
              if merged > 0 then merged = merged - 1 end
              first_left = unpack('<I6', chunk, at)
            end
          elseif form ~= PLAIN or total == 0 then
            while counted > 0 and (redis_now - first_left) % WRAP >= window do
              local _, charged = unpack(form == 8 and '<I6I2' or '<I6I6', text, gone)
              counted, gone = counted - charged, gone + form
              first_left = gone < stop and unpack('<I6', text, gone) or 0
            end
          else
            plain = false
            break
          end
          if not plain then break end
          if counted > 0 then
            -- A longer window has come, or the limit was not charged since: its expiry is not for here to set.
            if op == RESERVE and ends * 1000 < newest + window then plain = false break end
            wait = ceil((newest + window - redis_now) / 1000)
          end
        elseif kind == 1 then
          local period, period_ends = plan[d + 4], plan[d + 5]
          if (form ~= PLAIN and total > 0) or now_ms < period or now_ms >= period_ends then plain = false break end
          if newest < period * 1000 then counted = 0 end
          if counted > 0 then
            if op == RESERVE and ends < period_ends then plain = false break end
            wait = period_ends - now_ms
          end
        elseif op == CHECK then
          -- A check takes no slot, and asks for one.
          cost = 0
        end
        if op == SETTLE then
          local limit_held, amount = unpack('<I4I6', text, part)
          if limit_held ~= limit or amount > held then plain = false break end
          held, part = held - amount, part + 10
        elseif asks then
          if need > 0 and counted + held + need > quota then plain = false break end
        end

        if not charges then
          held, record = held + cost, record .. pack('<I4I6', limit, cost)
          s = s + 3
          states[s - 2], states[s - 1], states[s] = counted + held, wait, 0
        elseif cost > 0 and kind ~= 2 then
          if counted + cost > MOST then plain = false break end
          if kind == 1 then
            form, length, body, stop, oldest, ends = PLAIN, 0, start, start, 0, plan[d + 5]
            wait = ends - now_ms
          else
            if form == LONG then
              if (size == 8 and cost > 65535) or (live < HOME and merged == 0) or dead >= SLACK
                or live - merged >= EXACT + SLACK or counted == 0
              then
                plain = false
                break
              end
              oldest = first_left
            else
              if counted == 0 then
                form, gone, oldest = cost < 65536 and 8 or 12, stop, entry_now
              else
                if form == 8 and cost > 65535 then plain = false break end
                oldest = first_left
              end
              length = stop - gone + form
              if length > SMALL then plain = false break end
            end
            ends, wait = plan[d + 6], plan[d + 3] / 1000
          end
          total, newest, dirty = counted + cost, redis_now, true
          if ends > expiry then expiry = ends end
          s = s + 3
          states[s - 2], states[s - 1], states[s] = total + held, wait, 0
        else
          s = s + 3
          states[s - 2], states[s - 1], states[s] = counted + held, wait, 0
          cost = 0
        end

        if cost > 0 or op == SETTLE and sid == limit then
          if kept < start then
            p = p + 1
            parts[p] = sub(text, kept, start - 1)
          end
          kept = offset
          if sid ~= limit then count = count + 1 end
          parts[p + 1] = pack(HEAD, limit, form, charges and cost > 0 and length or stop - body, total, held, newest, ends, oldest)
          p = p + 1
          if charges and cost > 0 and kind == 0 then
            if form == LONG then
              parts[p + 1] = pack('<BI2I2I2', size, dead, merged, live + 1)
              p = p + 1
              writes[n + 1], writes[n + 2], writes[n + 3] =
                ('{%s}:w:%08x'):format(key, limit), pack(size == 8 and '<I6I2' or '<I6I6', entry_now, cost), -ends
              n = n + 3
            else
              parts[p + 1], parts[p + 2] = sub(text or '', gone, stop - 1), pack(form == 8 and '<I6I2' or '<I6I6', entry_now, cost)
              p = p + 2
            end
          elseif stop > body then
            p = p + 1
            parts[p] = sub(text, body, stop - 1)
          end
        end
      end

      if not plain then break end
      if dirty then
        if kept < area then
          p = p + 1
          parts[p] = sub(text, kept, area - 1)
        end
        if op == RESERVE then
          local lapses = now_ms + plan[3]
          if leases > 0 then record = sub(text, area, ids_at - 3) .. record end
          parts[p + 1], parts[p + 2], parts[p + 3] = record, pack('<I2', #record), leases > 0 and sub(text, ids_at) .. id or id
          p = p + 3
          leases = leases + 1
          if epoch == 0 then epoch = now_ms end
          if retry == 0 then retry = epoch end
          if earliest == 0 or lapses < earliest then earliest = lapses end
          if lapses + plan[4] > expiry then expiry = lapses + plan[4] end
        elseif op == SETTLE then
          leases = leases - 1
          if leases > 0 then
            local left = sub(text, area, record - 1) .. sub(text, part, ids_at - 3)
            parts[p + 1], parts[p + 2] = left, pack('<I2', #left)
            parts[p + 3] = sub(text, ids_at, ids_at + 8 * place - 1) .. sub(text, ids_at + 8 * place + 8)
            p = p + 3
          else
            earliest = 0
          end
        elseif leases > 0 then
          p = p + 1
          parts[p] = sub(text, area)
        end
        parts[1] = pack(HEADER, MARK, count, leases, earliest, freed, expiry, epoch)
        writes[n + 1], writes[n + 2], writes[n + 3] = key, concat(parts, '', 1, p), expiry
        n = n + 3
      end
      m = m + 1 + 10 * own
    end
    if not plain then break end

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
        format = '<BBI6' .. ('I6I6B'):rep(s / 3)
        formats[s] = format
      end
      answer = pack(format, 0, 0, retry, values(states, 1, s))
    end
  until true end
  if not answer then
    slow = slow or make(redis_now)
    answer = slow(plan, first, costs, from)
  end
  reply[r] = answer
  first = first + subjects
end
return reply
