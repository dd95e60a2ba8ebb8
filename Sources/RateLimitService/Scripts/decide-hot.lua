
  -- decide-hot.lua: the hot path proper, and where a request that leaves it goes on. What is plain no longer breaks off.
  -- (A loop that is left by `break` is Lua's way to go on below.) A denial is found out in a first round, and said in a
  -- second one, which charges nothing.
  local is_denied = false
  if not answer and tries_hot_path and operation < RESET then for _ = 1, 2 do repeat
    local m, id, is_plain = TERMS, nil, true
    if operation ~= CHECK and operation ~= USAGE then id = sub(operands, from, from + 7) end
    if operation == RESERVE then server = server or tonumber(sub(tostring(call), -11), 16) or 0 end
    local asks, charges = operation <= RESERVE, operation ~= RESERVE
    local ends_lease = operation == SETTLE or operation == RELEASE
    local is_free = is_denied or operation == RENEW or operation == RELEASE
    local charged, lapses = operation > RESERVE and 8 or 0, now_ms + plan[LIFE]
    -- What will be written: key, text and when it expires, three by three; a negative time says that the text is
    -- appended. And how each term stands: used, reset and flags.
    local n, s, retry, decider, told = 0, 0, 0, 0, nil
    writes, states = writes or { 0, 0, 0, 0, 0, 0 }, states or { 0, 0, 0, 0, 0, 0, 0, 0, 0 }
    parts = parts or { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

    for j = first, first + subjects - 1 do
      local key, terms, bound = KEYS[j], plan[m], plan[m + BOUND]
      local text = try('GET', key)
      local mark, count, leases, earliest, freed, expiry, epoch, offset = MARK, 0, 0, 0, 0, 0, 0, HEADER_LENGTH + 1
      local kept, gaps = offset, 0
      if text then
        if text.err or #text < HEADER_LENGTH then is_plain = false break end
        mark, count, leases, earliest, freed, expiry, epoch, offset = unpack(HEADER, text)
        if mark ~= MARK or leases == SPILLED or (earliest > 0 and earliest <= now_ms) then is_plain = false break end
      end
      local stood_until = expiry

      -- The memory of leases. A reserve writes it anew, but for the gaps.
      if epoch > 0 then
        gaps = byte(text, offset) or SPILLED
        offset = offset + MEMORY_LENGTH + 12 * gaps
        if offset > #text + 1 then is_plain = false break end
        if operation == RESERVE then
          local latest, giver = unpack('<I6I6', text, kept + 1)
          if giver ~= server or latest > now_ms then is_plain = false break end
          kept = kept + MEMORY_LENGTH
        end
      end

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
      if ends_lease or operation == RENEW then
        if not place then is_plain = false break end
        place, record = (place - ids_at) / 8, records_at
        for _ = 1, place do record = record + 7 + 10 * byte(text, record + 6) end
        local stands_until, parts = unpack('<I6B', text, record)
        if stands_until <= freed or (ends_lease and parts ~= terms) then is_plain = false break end
        if operation == RENEW and (leases >= INLINE or freed > now_ms) then is_plain = false break end
        part = record + 7
      elseif operation == RESERVE then
        if leases >= INLINE or place or freed > now_ms then is_plain = false break end
        record = pack('<I6B', lapses, terms)
      end

      -- The terms, beside the sections. `parts` becomes the new text: what is kept of the old one from `kept` on, and
      -- what has changed.
      local p, seen, had, is_dirty = 1, 0, count, id ~= nil
      for d = m + 2, m + 1 + WIDTH * terms, WIDTH do
        local limit, kind, quota, cost, need = plan[d], plan[d + KIND], plan[d + QUOTA], costs[plan[d + AMOUNT]], nil
        cost = cost or plan[d + COST]
        if cost == MOST then
          cost, need = 0, 1
        else
          if cost > quota and plan[d + FLAGS] % 4 > 1 then cost = quota end
          need = cost
        end
        if is_free then cost, need = 0, asks and need or 0 end
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

        -- What the window counts now, and how long until it is empty; and the most that its period has counted.
        local counted, reset, gone, first_left, size, dead, merged, live = total, 0, body, oldest, form
        local highest = 0
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
          if newest < period * 1000 then counted = 0 elseif form == PLAIN then highest = oldest end
          if counted > 0 then
            if (operation == RESERVE or need > cost) and ends < period_ends then is_plain = false break end
            reset = period_ends - now_ms
          end
        elseif kind == LIFETIME then
          local stands_until = newest + plan[d + WINDOW]
          if form ~= PLAIN and total > 0 then is_plain = false break end
          if redis_now >= stands_until then
            -- What leases hold keeps it, and a first lease lets it begin anew.
            if (total > 0 or oldest > 0) and (held > 0 or operation == RESERVE) then is_plain = false break end
            counted = 0
          elseif form == PLAIN then
            highest = oldest
          end
          if counted > 0 then
            if (operation == RESERVE or need > cost) and ends * 1000 < stands_until then is_plain = false break end
            reset = ceil((stands_until - redis_now) / 1000)
          end
        elseif operation == CHECK then
          -- A check takes no slot, and asks for one.
          cost = 0
        end

        local flags = 0
        if ends_lease then
          local limit_held, amount = unpack('<I4I6', text, part)
          if limit_held ~= limit or amount > held then is_plain = false break end
          held, part = held - amount, part + 10
        elseif asks then
          if need > 0 and counted + held + need > quota then
            -- What leases hold, a shadow limit and a long window have their own ways to deny.
            if held > 0 or need > quota or plan[d + FLAGS] % 2 == 1 or form == LONG then is_plain = false break end
            if not is_denied then
              is_denied, is_plain = true, false
              break
            end
            local waiting, left, at, time, charged_then = reset, counted, gone, nil, nil
            if kind == SLIDING then
              repeat
                time, charged_then, at = unpack(form == 8 and '<I6I2' or '<I6I6', text, at)
                left = left - charged_then
              until left + need <= quota
              waiting = ceil((plan[d + WINDOW] - (redis_now - time) % WRAP) / 1000)
            end
            if waiting > retry then retry, decider = waiting, s / 3 + 1 end
            flags = 1
          end
        end

        -- What becomes of the section: `start` up to `stop` of the text, whose body's entries stand from `gone` on.
        s = s + 3
        if not charges then
          held, record = held + cost, record .. pack('<I4I6', limit, cost)
          states[s - 2], states[s - 1], states[s] = counted + held, reset, flags
        elseif cost > 0 and kind ~= CONCURRENCY then
          if counted + cost > MOST then is_plain = false break end
          ends, reset = plan[d + ENDS], plan[d + WINDOW] / 1000
          if kind ~= SLIDING then
            form, length, body, stop, oldest = PLAIN, 0, start, start, 0
            if highest > counted + cost then oldest = highest end
            if kind == CALENDAR then reset = ends - now_ms end
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
          end
          total, newest, is_dirty = counted + cost, redis_now, true
          if ends > expiry then expiry = ends end
          states[s - 2], states[s - 1], states[s] = total + held, reset, charged
          if total > plan[d + QUIET] and plan[d + TELLS] > 0 and total > highest then
            -- Which thresholds it crosses: `place` walks through them.
            local before, at, first_crossed, place, amount = counted, plan[d + TELLS] + 1, 0, 0, nil
            if highest > before then before = highest end
            for _ = 1, byte(plan[TEXT], at - 1) do
              amount, at = unpack('<I6', plan[TEXT], at)
              if amount > total then break end
              place = place + 1
              if first_crossed == 0 and amount > before then first_crossed = place end
            end
            if first_crossed > 0 then
              states[s] = charged + 64
              told = (told or '') .. pack('<BBI6', first_crossed, place, total)
            end
          end
        else
          states[s - 2], states[s - 1], states[s] = counted + held, reset, flags
          cost = 0
        end

        if cost > 0 or ends_lease and section == limit then
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
              writes[n + 1] = (byte(key) == BRACE and '%s}:w:%08x' or '{%s}:w:%08x'):format(key, limit)
              writes[n + 2], writes[n + 3] = entry, -ends
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
      if is_dirty and not is_denied then
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
          if earliest == 0 or lapses < earliest then earliest = lapses end
          if lapses + plan[REMEMBER] > expiry then expiry = lapses + plan[REMEMBER] end
        elseif operation == RENEW then
          parts[p + 1], parts[p + 2] = sub(text, records_at, record - 1), pack('<I6', lapses)
          parts[p + 3] = sub(text, record + 6)
          p = p + 3
          if earliest == 0 or lapses < earliest then earliest = lapses end
          if lapses + plan[REMEMBER] > expiry then expiry = lapses + plan[REMEMBER] end
        elseif ends_lease then
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
        -- The set of values takes in a new bundle, and must outlive it: decide-values.lua.
        if bound > 0 and floor(expiry / HOUR) > floor(stood_until / HOUR) then is_plain = false break end
        if operation == RESERVE then
          if epoch == 0 then epoch = now_ms end
          parts[1] = pack(KNOWING, MARK, count, leases, earliest, freed, expiry, epoch, gaps, now_ms, server)
        else
          parts[1] = pack(HEADER, MARK, count, leases, earliest, freed, expiry, epoch)
        end
        writes[n + 1], writes[n + 2], writes[n + 3] = key, concat(parts, '', 1, p), expiry
        n = n + 3
      end
      m = m + 2 + WIDTH * terms
    end
    if not is_plain then break end

    -- The id of a usage, or of a check that is admitted, is noted as `notes` does it, where that has been begun and the
    -- id is not known.
    if plan[HAS_ID] and (operation == USAGE or operation == CHECK) then
      local key = KEYS[first]
      local base = byte(key) == BRACE and key:match('^{[^}]*}') or '{' .. key .. '}'
      local ids, field, rest = base .. ':ids', sub(operands, from, from), sub(operands, from + 1, from + 11)
      local since, known = try('HGET', ids, 'since'), try('HGET', ids, field)
      local before = try('HGET', base .. ':ids:before', field)
      if byte(operands, from + 12) > 0 or not since or since.err or tonumber(since) + plan[REMEMBER] <= now_ms
        or (known and find(known, rest, 1, true)) or (before and (before.err or find(before, rest, 1, true)))
      then
        break
      end
      if not is_denied and (operation == USAGE or s > 0) then
        local noted = try('HSET', ids, field, (known or '') .. rest)
        if type(noted) ~= 'number' then break end
        try('PEXPIREAT', ids, ('%d'):format(now_ms + plan[REMEMBER]))
      end
    end

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
      if is_denied then
        answer = pack(format, 1, decider, retry, retry, values(states, 1, s))
      else
        local stands = operation == RESERVE or operation == RENEW
        answer = pack(format, 0, 0, stands and now_ms or 0, stands and lapses or 0, values(states, 1, s))
        if told then answer = answer .. told .. pack('<I6', now_ms) end
      end
    end
  until true if answer or not is_denied then break end end end

  if not answer then
    slow = slow or make(redis_now)
    local request = {
      operation = operation, subjects = subjects, life = plan[LIFE], remember = plan[REMEMBER], first_key = first,
      plan = plan[TEXT], plan_at = plan[BODY], amounts = costs,
    }
    if plan[HAS_ID] then
      request.id, request.digest = sub(operands, from, from + 7), sub(operands, from, from + 11)
      local spread
      request.given, request.lapses, spread = unpack('<I6I6I2', operands, from + 8)
      request.candidate = byte(operands, from + 12)
      request.first_given = spread < 65535 and request.given - spread or 0
    end
    answer = slow(request)
  end
  -- A denied candidate makes way for the next one; whatever else became of it ends the call.
  if has_candidates then
    is_over = plan.follows and (is_over or byte(answer) == DONE or byte(answer) > AT_CAPACITY)
  end
  reply[r] = answer
  first = first + subjects
end
return reply
