
-- decide-plan.lua: what the names in the rest of the script mean, and the plans, each in a table of numbers. They are
-- the same for every request of the batch that has one.
local values, byte, ceil, floor, concat = unpack, string.byte, math.ceil, math.floor, table.concat
local call, try, unpack, pack, sub, find = redis.call, redis.pcall, struct.unpack, struct.pack, string.sub, string.find
local MARK, LONG, PLAIN, SPILLED, WRAP, MOST, BRACE = 179, 1, 0, 255, 281474976710656, 281474976710655, 123
local SMALL, HOME, EXACT, SLACK, INLINE, HOUR = 1024, 64, 1024, 256, 16, 3600000
local CHECK, RESERVE, RENEW, SETTLE, RELEASE, USAGE, RESET = 1, 2, 3, 4, 5, 6, 7
local SLIDING, CALENDAR, CONCURRENCY, LIFETIME = 0, 1, 2, 3
local DONE, AT_CAPACITY = 0, 3
local HEADER, HEADER_LENGTH, HEAD, HEAD_LENGTH = '<BBBI6I6I6I6', 27, '<I4BI2I6I6I7I6I6', 38
local MEMORY_LENGTH, KNOWING = 13, '<BBBI6I6I6I6BI6I6'
local ALONE, ALONE_LENGTH = '<BBBI6I6I6I6I4BI2I6I6I7I6I6', 65
-- Where a plan's parts stand in its table: first its own, then for each subject the number of its terms, its BOUND and
-- the terms.
local OPERATION, SUBJECTS, HAS_ID, AMOUNTS, LIFE, REMEMBER, TEXT, BODY, TERMS, BOUND = 1, 2, 3, 4, 5, 6, 7, 8, 9, 1
-- Where a term's parts stand from its first, the limit, on. A sliding window has its length as WINDOW in microseconds,
-- a lifetime its idle time, and as ENDS when a charge of now has left it; in their places a calendar has START and STOP of
-- this period; in milliseconds. Up to QUIET a charge is neither denied nor told of. TELLS is where its thresholds stand
-- in the plan's text; 0 where it has none.
local KIND, FLAGS, WINDOW, ENDS, QUOTA, AMOUNT, COST, QUIET, TELLS, WIDTH = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
local START, STOP = WINDOW, ENDS
local ONE_TERM = 12 + 4 + 39
local clock = call('TIME')
local redis_now = clock[1] * 1000000 + clock[2]
local now_ms, entry_now = floor(redis_now / 1000), redis_now % WRAP
local operands, operand, plans, costs, formats, instants, reply, first, slow = ARGV[2], 1, {}, {}, {}, {}, {}, 1, nil
-- Tables that the hot path fills anew for each request.
local parts, states, writes
-- The server as decide-bundle.lua has it, once a lease is given.
local server
local tries_hot_path = true
-- Whether there are candidates in the batch, and whether those that come next are passed over.
local has_candidates, is_over = false, false


for index = 3, #ARGV do
  local text = ARGV[index]
  local operation, subjects, flags, amounts, life, remember, at = unpack('<BBBBI4I4', text)
  local has_id = flags % 2 == 1
  -- With room for one term, or for five: a table that grows costs more than the zeros.
  local plan
  if #text <= ONE_TERM then
    plan = { operation, subjects, has_id, amounts, life, remember, text, at, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
  else
    plan = {
      operation, subjects, has_id, amounts, life, remember, text, at, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
      0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    }
  end
  if flags > 1 then has_candidates, plan.follows = true, true end
  local m = TERMS
  for _ = 1, subjects do
    local terms, bound, first_term = unpack('<BI3', text, at)
    plan[m], plan[m + BOUND], m, at = terms, bound, m + 2, first_term
    for d = m, m + WIDTH * terms - 1, WIDTH do
      local limit, kind, flags, a, b, c, _, quota, amount, cost, after = unpack('<I4BBI5I5I5I5I6BI6', text, at)
      at = after
      plan[d], plan[d + KIND], plan[d + FLAGS], plan[d + QUOTA] = limit, kind, flags, quota
      plan[d + AMOUNT], plan[d + COST], plan[d + QUIET], plan[d + TELLS] = amount, cost, quota, 0
      if kind == CALENDAR then
        plan[d + START], plan[d + STOP] = b * 1000, c * 1000
      else
        plan[d + WINDOW], plan[d + ENDS] = a * 1000, ceil((redis_now + a * 1000) / 1000)
      end
      if flags > 3 then
        local count, least = unpack('<BI6', text, at)
        if least <= quota then plan[d + QUIET] = least - 1 end
        plan[d + TELLS], at = at, at + 1 + 6 * count
      end
    end
    m = m + WIDTH * terms
  end
  plans[index - 3] = plan
end
