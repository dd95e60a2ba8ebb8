

-- Decides a batch of requests, each under any number of limits of any number of subjects, on Redis's own clock. Of each
-- request everything is charged or nothing is. (The script is decide-bundle.lua, which says what is kept,
-- decide-leases.lua, decide-window.lua, decide-values.lua and decide-operations.lua; then decide-plan.lua, this, and
-- decide-hot.lua, which is the rest of the loop that begins here.)
--
-- KEYS       the keys of the requests' subjects: those of the first request, then those of the second, and so on. No
--            key stands twice in one request.
-- ARGV[1]    a byte for each request: its plan, from 0
-- ARGV[2]    the requests' operands, one behind the other: where the plan has an id, 22 bytes, which are the id of a
--            lease in 8, when it was given I6, as the reserve replied, and when it lapses I6, as the reserve or the
--            latest renew did, both the latest where several servers replied, and by how much they differ about when
--            it was given I2 (65,535: nobody knows), or the digest of the id of a check or usage in 12, of a check with
--            candidates which one this is, from 1, B, and zeros; then the plan's amounts, I6 each
-- ARGV[3..]  the plans: operation B, subjects B, whether it has an id (1) and whether the next request is the call's next
--            candidate (2) B, amounts B, how long a lease that is given or renewed lives I4, for how long a lapsed lease
--            and the id of a check or usage are remembered I4, both in milliseconds; then for each subject the number of
--            its terms B and the most values I3, and for each term, by ascending limits:
--     limit I4, no limit twice under one subject
--     kind B: 0 sliding, 1 calendar, 2 concurrency, 3 lifetime
--     flags B: 1 shadow, 2 a cost above the quota is taken for the quota, 4 tells which thresholds are crossed
--     four I5: the window in milliseconds and three zeros; or the Unix seconds at which the calendar's previous, this,
--       the next and the next but one period begin; or zeros; or after how many milliseconds idle the lifetime begins
--       anew, and three zeros
--     quota I6
--     amount B: the place of its cost among the amounts, from 1; 0: the cost follows
--     cost I6
--     where it tells of thresholds: their number B, from 1, and amounts I6 each, ascending
-- The most values are how many subjects of its kind a user or a group may have, one for each value of what calls say;
-- 0: no bound. Such a subject has a key as decide-values.lua says.
--
-- A cost of 2^48 - 1 is one that is not known. It counts nothing, and asks for room all the same: a check or reserve is
-- denied where not even 1 is left.
--
--   1 check    admits where each cost fits under its quota, and charges; cost 0 looks; takes no concurrency slot, and
--              asks for one only where it costs one; with an id, once for each that was admitted, and without terms it
--              says whether the id was
--   2 reserve  admits likewise, also slots, and holds instead, under a lease with that id
--   3 renew    lets the lease live for its life from now
--   4 settle   frees the lease and charges, never denies, once for each id; also where the lease has lapsed
--   5 release  frees the lease; a later settle of the id charges nothing
--   6 usage    charges, never denies, once for each id; without an id each time
--   7 reset    forgets what the terms' limits count and hold, or everything where a subject has none, then of each of
--              its values too, up to VALUES of them; a bound says that the terms' limits are to be forgotten there as
--              well. A later settle of a lease that stood charges all the same
--   8 refund   takes back what was charged, from the newest charge on, of each term as much as it counts at most; once
--              for each id; without an id each time
--   9 dry check, 10 dry reserve  say what a check or a reserve would be answered, and charge, hold and note nothing: each
--              term stands as it does without the request
--
-- Of a call's candidates the first that is not denied is all that is done: those behind it are answered by an empty
-- string.
--
-- Returns a string for each request: status B, deciding term I2 (from 1; 0 none), retry in milliseconds I6, how much of
-- the retry what is charged needs, however early leases end, I6, and for each term: used I6 (held costs included),
-- milliseconds until its window is empty I6, flags B (1 denied, 2 denied by a shadow limit, 4 for good, 8 charged by a
-- settle or usage, or taken back by a refund, 16 denied while leases hold some of it, 32 another value's windows were
-- forgotten for this subject, 64 thresholds were crossed). Where some were there follow, for each term with that flag,
-- the places of the first and the last of them, from 1, B each, and what is charged now I6; and at the end the time now in
-- milliseconds I6. A charge crosses what was never reached before and is now: in a window that slides, not by what has
-- been charged and not left it; in a calendar's period, not since that began. What leases hold crosses nothing.
-- An admitted reserve has, in place of the two waits, when the lease was given, which is never before the latest that
-- one of its subjects was given, and when it lapses; a renew the time now, and when it lapses. A string that begins with
-- ! is the error that failed this request alone; nothing of it was charged. Status: 0 done, 1 denied, 2 denied for good,
-- 3 at capacity, 4 no such lease, 5 the id was settled, released or charged before, 6 so late that nothing is known of
-- the lease. The term that decides is the one with the longest retry, of the concurrency limits where one of them
-- denies; each wait is the longest of all. Of an id that was charged before for a candidate it is that candidate instead.
--
-- The hot path decides the commonest requests as straight code: a call of a Lua function, and one that is made, cost
-- more than all else. Whatever is not plainly that breaks off before anything was written, and is decided by the
-- functions of the first five files. Both write the same bytes.
for r = 1, #ARGV[1] do
  local plan = plans[byte(ARGV[1], r)]
  local operation, subjects, from, answer = plan[OPERATION], plan[SUBJECTS], operand, nil
  if plan[HAS_ID] then operand = operand + 22 end
  for amount = 1, plan[AMOUNTS] do costs[amount], operand = unpack('<I6', operands, operand) end
  if is_over then operation, answer = 0, '' end

  -- The plainest: a check of a short window that is alone in its bundle, of which nothing has to go. It has no id.
  if operation == CHECK and subjects == 1 and plan[TERMS] == 1 and plan[TERMS + BOUND] == 0
    and plan[TERMS + 2 + KIND] == SLIDING and not plan[HAS_ID] and tries_hot_path
  then
    local key, d = KEYS[first], TERMS + 2
    local cost, window, text = costs[plan[d + AMOUNT]] or plan[d + COST], plan[d + WINDOW], try('GET', key)
    if text and #text > ALONE_LENGTH then
      local mark, count, leases, earliest, freed, expiry, epoch, limit, form, length, total, held, newest, ends, oldest,
        body = unpack(ALONE, text)
      if mark == MARK and count == 1 and leases == 0 and epoch == 0 and limit == plan[d] and form == 8 and total > 0
        and held == 0 and cost > 0 and cost < 65536 and newest <= redis_now and (redis_now - oldest) % WRAP < window
      then
        local sum = total + cost
        if sum <= plan[d + QUIET] then
          if length < SMALL then
            ends, total = plan[d + ENDS], sum
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
        elseif sum > plan[d + QUOTA] and cost <= plan[d + QUOTA] and plan[d + FLAGS] % 2 == 0
          and ends * 1000 >= newest + window
        then
          -- It passes when so many of the oldest entries have left that there is room.
          local quota, left, at, time, charged = plan[d + QUOTA], total, body, nil, nil
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

