-- Decides a batch of checks, each against one user's sliding-window log, on Redis's own clock.
--
-- KEYS[i]      the window of check i: one packed string, absent while the window is empty
-- ARGV[1]      limit, 1 to 1,000,000,000,000
-- ARGV[2]      window in milliseconds, 1,000 to 31,536,000,000
-- ARGV[2 + i]  cost of check i, 1 to 1,000,000; 0 only looks: it consumes and creates nothing
--
-- Returns three elements for each check:
--   retry  0: admitted, or looked at; above 0: denied, the same check passes after so many milliseconds;
--          -1: denied for good, the cost is above the limit; a text: the error that failed this check alone,
--          which begins with BUNDLE where decide.lua has made a bundle of the window
--   used   cost in the window, this admission included
--   reset  milliseconds until the window is empty
--
-- The string, little endian: a header of 25 bytes, then an entry for each admission, oldest first.
--   size B, dead I2, merged I2, live I2, total I6, newest I7, span I5
--   entry: time I6 (microseconds modulo 2^48), cost I2 where size is 8, I6 where it is 12
-- Dead entries have left the window and still stand at the front. Merged ones, next, may each stand for several
-- neighbours, at the time of the latest. total is the cost of the live ones, newest the time of the last admission,
-- span the window in milliseconds to which the key's expiry was set.
--
-- Up to SMALL bytes a window is read and written whole. A longer one is touched at its two ends only, and rewritten
-- after SLACK admissions: the dead go, and of all but the newest EXACT entries each joins the one before it if that
-- keeps both within W/1024 of the entry before those. An admission thus never leaves the window early, and at most
-- W/1024 late; and a window holds at most 2 * 1024 merged, EXACT + SLACK exact and SLACK dead entries.
local call, pcall, unpack, pack, sub = redis.call, redis.pcall, struct.unpack, struct.pack, string.sub
local HEADER, SMALL, EXACT, SLACK, WRAP = '<BI2I2I2I6I7I5', 1049, 1024, 256, 281474976710656
local limit, span = tonumber(ARGV[1]), tonumber(ARGV[2])
local window = span * 1000
local clock = call('TIME')
local redis_now = clock[1] * 1000000 + clock[2]
local redis_expiry = string.format('%d', math.ceil((redis_now + window) / 1000))
local reply = {}

for i = 1, #KEYS do
  local key, cost = KEYS[i], tonumber(ARGV[i + 2])
  local now, expiry, retry = redis_now, redis_expiry, 0
  local size, dead, merged, live, total, newest, kept, length = 8, 0, 0, 0, 0, 0, 0, 0
  local format, offset, base, time, charged = '<I6I2', 25, 0, 0, 0
  local text = pcall('GETRANGE', key, '0', '1048')
  local fault = text.err

  if not fault and text ~= '' then
    if #text > 25 then
      size, dead, merged, live, total, newest, kept = unpack(HEADER, text)
      length = 25 + (dead + live) * size
    end
    if (#text < SMALL and #text or call('STRLEN', key)) ~= length or live == 0 or (size ~= 8 and size ~= 12) then
      fault, live = 'ERR the value is not a rate limit window', 0
      if text:byte() == 177 then fault = 'BUNDLE the value is for decide.lua' end
    else
      if size == 12 then format = '<I6I6' end
      if newest > now then
        -- Redis's clock has stepped back: time stands still for this window until the clock has caught up.
        now, expiry = newest, string.format('%d', math.ceil((newest + window) / 1000))
      end
      if kept < span and cost > 0 and newest + window > redis_now then
        -- A longer window has come: what it counts must not expire with the shorter one.
        pcall('SETRANGE', key, '20', pack('<I5', span))
        pcall('PEXPIREAT', key, string.format('%d', math.ceil((newest + window) / 1000)))
      end
      offset = 25 + dead * size
      repeat
        if offset - base + size > #text then
          text, base = call('GETRANGE', key, offset, offset + 64 * size - 1), offset
        end
        time, charged = unpack(format, text, offset - base + 1)
        if (now - time) % WRAP < window then break end
        dead, live, total, offset = dead + 1, live - 1, total - charged, offset + size
        if merged > 0 then merged = merged - 1 end
      until live == 0
    end
  end

  if fault then
    retry = fault
  elseif cost > limit then
    retry = -1
  elseif total + cost > limit then
    local left = total - charged
    while left + cost > limit and offset + size < length do
      offset = offset + size
      if offset - base + size > #text then
        text, base = call('GETRANGE', key, offset, offset + 64 * size - 1), offset
      end
      time, charged = unpack(format, text, offset - base + 1)
      left = left - charged
    end
    retry = math.ceil((window - (now - time) % WRAP + now - redis_now) / 1000)
  elseif cost > 0 then
    total, newest = total + cost, now
    local fits, body, answer = cost < 65536 or size == 12
    if live == 0 then
      size, format, body = 8, '<I6I2', ''
      if cost > 65535 then size, format = 12, '<I6I6' end
    elseif fits and length + size <= SMALL then
      body = sub(text, offset + 1)
    elseif fits and dead < SLACK and live - merged < EXACT + SLACK then
      answer = pcall('APPEND', key, pack(format, now, cost))
      if type(answer) == 'number' then
        call('SETRANGE', key, '0', pack(HEADER, size, dead, merged, live + 1, total, now, span))
        call('PEXPIREAT', key, expiry)
      end
    else
      local old_size, old_format, all = size, format, sub(call('GET', key), offset + 1)
      size, format = 8, '<I6I2'
      if total > 65535 then size, format = 12, '<I6I6' end
      local cut = math.max(merged, live + 1 - EXACT)
      local first = size == old_size and math.max(merged - 1, 1) or 1
      local before, last, sum
      local parts, count = { sub(all, 1, (first - 1) * size) }, first - 1
      for n = first, cut do
        time, charged = unpack(old_format, all, (n - 1) * old_size + 1)
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
      merged, live, body = count, count + live - cut, table.concat(parts)
    end
    live = live + 1
    if body then
      body = pack(HEADER, size, 0, merged, live, total, now, span) .. body .. pack(format, now, cost)
      answer = pcall('SET', key, body, 'PXAT', expiry)
    end
    if type(answer) == 'table' then retry = answer.err or 0 end
  end

  local at = 3 * i
  reply[at - 2], reply[at - 1] = retry, total
  reply[at] = live > 0 and math.ceil((newest + window - redis_now) / 1000) or 0
end
return reply
