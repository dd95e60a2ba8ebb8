-- Limits of llm-rate-limit in HAProxy (tried with 2.6 and 2.8), to be loaded with lua-load-per-thread.
--
-- rate-limit-check     http-request action: lets a request through, or answers it with 429
-- rate-limit-reserve   http-request action: the same, and holds what the call may take of tokens and money
-- rate-limit           filter: hands on the daemon's headers, reads from the model's answer what the call took, and has
--                      it charged in place of what was held; the answer does not wait for that
--
-- Both actions read txn.rate_limit_user, and take the client's address where there is none. Where the daemon does not
-- answer in time the request goes on, and the answer has X-Rate-Limit-Degraded.

-- A listener of HAProxy's own, which has the deadlines and asks the daemon once; see haproxy.cfg.
local SOCKET = "unix@/run/haproxy/llm-rate-limit.sock"
-- Above the deadlines of that listener: the client in here sends again what does not answer in time.
local PATIENCE_MS = 2000
-- Seconds after which what nobody settles is free again, such as of a process that died, and those between renewals.
local LEASE_SECONDS, RENEWAL_SECONDS = 60, 20
-- What is kept of one answer, at most: the line of a stream, or an answer that is no stream.
local KEPT_BYTES = 1048576
-- The longest user that the daemon takes, and the longest model and usage that it is asked with: above what it refuses
-- without reading the call, such a call would be let through.
local USER_BYTES, MODEL_BYTES, USAGE_BYTES = 256, 1024, 16384
-- Settlements that a thread keeps for a daemon that is away, how many it sends at a time, and for how long.
local QUEUE_LENGTH, SENDERS, RETRIED_SECONDS = 4096, 16, 90
-- Seconds between two lines of the log about the same: each thread has lines of its own.
local LOG_PAUSE_SECONDS = 10
-- What the client gets of the daemon's headers, where they are there.
local HEADERS = {
  "RateLimit", "RateLimit-Policy", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "Retry-After",
  "X-Rate-Limit-Over",
}

-- JSON ---------------------------------------------------------------------------------------------------------------
--
-- Values are found in a text and handed on as they are written there; nothing has to be decoded.

-- A text as JSON has it.
local function quoted(text)
  local escaped = text:gsub('[%c"\\]', function(character) return ("\\u%04x"):format(character:byte()) end)
  return '"' .. escaped .. '"'
end

-- Where the string that begins at a position ends; nil where the text ends before.
local function string_end(text, from)
  local at = from + 1
  while true do
    at = text:find('["\\]', at)
    if not at then return nil end
    if text:sub(at, at) == '"' then return at end
    at = at + 2
  end
end

-- Where the value that begins at a position ends; nil where the text ends before.
local function value_end(text, from)
  local first = text:sub(from, from)
  if first == '"' then return string_end(text, from) end
  if first ~= "{" and first ~= "[" then
    local stop = text:find("[%s,%]}]", from)
    return stop and stop - 1
  end
  local depth, at = 0, from
  while true do
    at = text:find('["{}%[%]]', at)
    if not at then return nil end
    local character = text:sub(at, at)
    if character == '"' then
      at = string_end(text, at)
      if not at then return nil end
    elseif character == "{" or character == "[" then
      depth = depth + 1
    else
      depth = depth - 1
      if depth == 0 then return at end
    end
    at = at + 1
  end
end

-- The members of an object, each as it is written; of a text that is cut those before the cut.
local function members(text)
  local found, at = {}, text and text:match("^%s*{()")
  while at do
    local start = text:match('^%s*()"', at)
    local stop = start and string_end(text, start)
    local value = stop and text:match("^%s*:%s*()", stop + 1)
    local last = value and value_end(text, value)
    if not last then break end
    -- Who writes "mo\u0064el" means the model.
    local name = text:sub(start + 1, stop - 1)
    name = name:gsub("\\u00(%x%x)", function(code) return string.char(tonumber(code, 16)) end)
    found[name] = text:sub(value, last)
    at = text:match("^%s*,()", last + 1)
  end
  return found
end

-- Who asks -----------------------------------------------------------------------------------------------------------

-- The groups of a part of an IPv6 address, behind those that are there; an IPv4 address at its end is two of them.
local function groups(part, found)
  for group in part:gmatch("[^:]+") do
    local a, b, c, d = group:match("^(%d+)%.(%d+)%.(%d+)%.(%d+)$")
    if a then
      found[#found + 1] = a * 256 + b
      found[#found + 1] = c * 256 + d
    else
      found[#found + 1] = tonumber(group, 16)
    end
  end
  return found
end

-- The user that is an address, in the form of /v1/auth: of IPv6 the first 64 bits.
local function user_at(address)
  -- A Unix socket has none; the daemon refuses a user without a text.
  if not address:find("^[%x.:]+$") then return "" end
  if not address:find(":", 1, true) then return "address:" .. address end
  local head, tail = address:match("^(.-)::(.*)$")
  local all, behind = groups(head or address, {}), groups(tail or "", {})
  for place = #all + 1, 8 do all[place] = behind[place - 8 + #behind] or 0 end
  if table.concat(all, ":", 1, 6) == "0:0:0:0:0:65535" then
    return ("address:%d.%d.%d.%d"):format(all[7] // 256, all[7] % 256, all[8] // 256, all[8] % 256)
  end
  local written, texts = 4, {}
  while written > 0 and all[written] == 0 do written = written - 1 end
  for place = 1, written do texts[place] = ("%x"):format(all[place]) end
  return "address:" .. table.concat(texts, ":") .. "::/64"
end

-- Decisions ----------------------------------------------------------------------------------------------------------

local is_away, noted_at = false, 0

-- One line for each change, and not one for each request.
local function note(failure)
  local now = core.now().sec
  if (failure ~= nil) == is_away or now - noted_at < LOG_PAUSE_SECONDS then return end
  is_away, noted_at = failure ~= nil, now
  if is_away then
    core.log(core.err, "llm-rate-limit does not decide, requests are let through: " .. failure)
  else
    core.log(core.notice, "llm-rate-limit decides again")
  end
end

-- Posts one call; gives the status, the members of the body as they are written, and the headers.
local function ask(path, body)
  local answer = core.httpclient():post({
    url = "http://localhost" .. path, dst = SOCKET, timeout = PATIENCE_MS,
    headers = { ["content-type"] = { "application/json" } }, body = body,
  })
  -- Without an answer at all it is as without a daemon.
  return answer.status or 503, members(answer.body), answer.headers or {}
end

local function refuse(txn, status, kind, message, headers)
  headers["content-type"] = { "application/json" }
  local body = ('{"error":{"type":"%s","code":"%s","message":%s}}\n'):format(kind, kind, message or '""')
  txn:done(txn:reply({ status = status, headers = headers, body = body }))
end

-- Asks about a request, and refuses it where the daemon does. Gives the answer's members where it holds something.
local function decide(txn, path, call)
  local user = txn:get_var("txn.rate_limit_user") or ""
  if user == "" then
    user = user_at(txn.f:src() or "")
  elseif user:find("^address:") or user:find("^api%-key:") then
    return refuse(txn, 400, "invalid_user", '"A user begins with address: or api-key:, which are not for users."', {})
  end
  if #user > USER_BYTES then
    return refuse(txn, 400, "invalid_user", ('"The user is above %d bytes."'):format(USER_BYTES), {})
  end
  call = call or ""
  local status, body, headers = ask(path, '{"user":' .. quoted(user) .. call .. "}")
  local handed_on, lines = {}, {}
  for _, name in ipairs(HEADERS) do
    local values = headers[name:lower()]
    if values then
      handed_on[name] = { values[0] }
      lines[#lines + 1] = name .. " " .. values[0]
    end
  end
  -- HAProxy's own answers, where the daemon is away, have no status in a body of JSON.
  local is_told = tonumber(body.status) == status
  local failure
  if status == 200 then
    if body.degraded == "true" then lines[#lines + 1] = "X-Rate-Limit-Degraded " .. body.reason:sub(2, -2) end
  elseif status == 429 or body.at_capacity == "true" then
    refuse(txn, 429, "rate_limit_exceeded", body.message, handed_on)
  elseif status == 503 and is_told then
    -- The failure mode is closed, and Redis is away.
    refuse(txn, 503, "rate_limit_unavailable", body.detail, handed_on)
  elseif status == 400 and is_told then
    -- A user whom the daemon cannot limit does not pass unlimited.
    refuse(txn, 400, "invalid_user", body.detail, handed_on)
  else
    failure = "status " .. status
    lines[#lines + 1] = "X-Rate-Limit-Degraded daemon_unreachable"
  end
  note(failure)
  txn:set_var("txn.rate_limit_headers", table.concat(lines, "\n"))
  return status == 200 and body.lease and body, user
end

core.register_action("rate-limit-check", { "http-req" }, function(txn) decide(txn, "/v1/check") end)

-- The model that a call asks for, as a member of what the daemon is asked; nothing where it names none.
local function requested_model(text)
  local model = members(text).model or ""
  return model:sub(1, 1) == '"' and ',"model":' .. model or ""
end

core.register_action("rate-limit-reserve", { "http-req" }, function(txn)
  local text = txn.sf:req_body() or ""
  local model = requested_model(text)
  if #model > MODEL_BYTES then
    return refuse(txn, 400, "invalid_model", ('"The model\'s name is above %d bytes."'):format(MODEL_BYTES), {})
  end
  local body, user = decide(txn, "/v1/reserve", model .. ',"ttl":' .. LEASE_SECONDS)
  if not body then return end
  local estimate = members(body.estimate)
  local input = tonumber(estimate.input_tokens) or 0
  -- Nothing is known yet of this user's calls or this model's: about four bytes are a token.
  if estimate.source == '"none"' then input = math.ceil(math.max(#text, txn.f:req_body_size() or 0) / 4) end
  -- Variables reach the filter; what else this script knows does not.
  txn:set_var("txn.rate_limit_lease", '"lease":' .. body.lease .. ',"user":' .. quoted(user))
  local form = ',"input_tokens":%d,"cache_read_input_tokens":%d,"cache_write_input_tokens":%d'
  txn:set_var("txn.rate_limit_held", form:format(
    input, tonumber(estimate.cache_read_input_tokens) or 0, tonumber(estimate.cache_write_input_tokens) or 0))
  txn:set_var("txn.rate_limit_held_output", tonumber(estimate.output_tokens) or 0)
  txn:set_var("txn.rate_limit_is_cut", model == "" and 1 or 0)
end)

-- Settlements --------------------------------------------------------------------------------------------------------

-- The settlements of this thread that wait, and when each of its senders was last seen.
local queue, first, last, seen = {}, 1, 0, {}
local lost, last_reason, told_at = 0, "", 0

local function report()
  local now = core.now().sec
  if lost == 0 or now - told_at < LOG_PAUSE_SECONDS then return end
  core.log(core.err, ("llm-rate-limit was not told what %d calls took: %s"):format(lost, last_reason))
  lost, told_at = 0, now
end

local function lose(reason)
  lost, last_reason = lost + 1, reason
  report()
end

-- Sends what waits, one after the other; each is sent again for a while, since what is told twice counts once.
local function send(sender)
  while first <= last do
    local one = queue[first]
    queue[first], first = nil, first + 1
    while true do
      seen[sender] = core.now().sec
      local status, body = ask(one.path, one.body)
      if status < 500 then
        if status ~= 200 and one.path == "/v1/settle" then lose(("status %d, %s"):format(status, body.detail)) end
        break
      end
      if core.now().sec >= one.until_second then
        if one.path ~= "/v1/renew" then lose("status " .. status) end
        break
      end
      core.msleep(1000)
    end
  end
  seen[sender] = nil
end

local function enqueue(path, body)
  local is_renewal = path == "/v1/renew"
  if last - first + 1 >= QUEUE_LENGTH then return is_renewal or lose("too many wait") end
  last = last + 1
  local now = core.now().sec
  queue[last] = { path = path, body = body, until_second = is_renewal and 0 or now + RETRIED_SECONDS }
  for sender = 1, SENDERS do
    -- One that has not been seen for a minute has failed.
    if not seen[sender] or now - seen[sender] > 60 then
      seen[sender] = now
      core.register_task(function() send(sender) end)
      return
    end
  end
end

-- What a call took ---------------------------------------------------------------------------------------------------

-- HAProxy calls no function of a filter's that has not all of these.
local Answer = { id = "llm-rate-limit", flags = filter.FLT_CFG_FL_HTX }
Answer.__index = Answer

function Answer:new()
  return setmetatable({
    request = { bytes = 0 }, answer = { bytes = 0 }, rest = "", events = 0, is_whole = false, model = "",
  }, Answer)
end

-- Takes the usage out of an answer or of a stream's event: OpenAI's chat and responses, Anthropic's, Gemini's.
-- Anthropic tells the input when a stream begins and the output when it ends, so members are put together.
function Answer:take_usage(text)
  local object = members(text)
  local response, message = members(object.response), members(object.message)
  local holder = next(response) and response or next(message) and message or object
  local told = holder.usage or holder.usageMetadata
  local usage = told and #told <= USAGE_BYTES and members(told) or {}
  if not next(usage) then return end
  self.usage = self.usage or {}
  for name, value in pairs(usage) do self.usage[name] = value end
  -- Of the events of the responses API only those that end it have a usage.
  if holder == response then self.is_whole = true end
end

function Answer:take_line(line)
  if line:sub(1, 5) == "data:" then
    self.events = self.events + 1
    if line:find("^data: *%[DONE%]") then
      self.is_whole = true
    elseif line:find('"usage%a*" *: *{') then
      self:take_usage(line:sub(6))
    end
  elseif line:find("^event: *message_stop") then
    self.is_whole = true
  end
end

function Answer:take_stream(chunk)
  local text, start = self.rest .. chunk, 1
  while true do
    local stop = text:find("\n", start, true)
    if not stop then break end
    if not self.skips then self:take_line(text:sub(start, stop - 1)) end
    self.skips = false
    start = stop + 1
  end
  self.rest = text:sub(start)
  if #self.rest > KEPT_BYTES then
    self.rest, self.skips = "", true
  end
end

-- The calls that are under way; of one that HAProxy forgot nothing is left.
local open = setmetatable({}, { __mode = "k" })

core.register_task(function()
  while true do
    core.sleep(RENEWAL_SECONDS)
    report()
    for _, lease in pairs(open) do enqueue("/v1/renew", "{" .. lease .. ',"ttl":' .. LEASE_SECONDS .. "}") end
  end
end)

function Answer:start_analyze(txn, channel)
  if not channel:is_resp() then return end
  self.has_begun = true
  if txn:get_var("txn.rate_limit_lease") then filter.register_data_filter(self, channel) end
end

function Answer:http_headers(txn, message)
  if not message:is_resp() then
    open[self] = txn:get_var("txn.rate_limit_lease")
    -- The model's name is not in what the buffer holds of the call.
    if open[self] and txn:get_var("txn.rate_limit_is_cut") == 1 then
      filter.register_data_filter(self, message.channel)
    end
    return filter.CONTINUE
  end
  local type = message:get_headers()["content-type"]
  self.is_stream = type ~= nil and type[0]:find("text/event-stream", 1, true) ~= nil
  for name, value in (txn:get_var("txn.rate_limit_headers") or ""):gmatch("(%S+) ([^\n]*)") do
    message:set_header(name, value)
  end
  return filter.CONTINUE
end

-- Both sides get the bytes as they are, whatever is read in them.
function Answer:http_payload(_, message)
  local chunk = message:body()
  if not chunk or chunk == "" then return end
  if message:is_resp() and self.is_stream then return self:take_stream(chunk) end
  local kept = message:is_resp() and self.answer or self.request
  kept.bytes = kept.bytes + #chunk
  if kept.bytes <= KEPT_BYTES then kept[#kept + 1] = chunk end
end

function Answer:http_end(_, message)
  if not message:is_resp() then
    self.model, self.request = requested_model(table.concat(self.request)), {}
    if #self.model > MODEL_BYTES then self.model = "" end
  else
    self.is_whole = true
    if self.is_stream then
      self:take_line(self.rest)
    elseif self.answer.bytes <= KEPT_BYTES then
      self:take_usage(table.concat(self.answer))
    end
  end
  return filter.CONTINUE
end

-- What is charged for a call that does not tell what it took, such as a stream that the client cut, is the estimate, and
-- a token at least for each event that was passed on. Were it less, cutting streams would be free.
function Answer:settlement(txn)
  -- The client's: the model's, or one of HAProxy's own; none where the client went away before.
  local status = txn:get_var("txn.rate_limit_status") or 0
  if status >= 400 and status ~= 499 and status ~= 504 then return "/v1/release", "" end
  if self.is_whole and self.usage then
    local told = {}
    for name, value in pairs(self.usage) do told[#told + 1] = '"' .. name .. '":' .. value end
    return "/v1/settle", self.model .. ',"usage":{' .. table.concat(told, ",") .. "}"
  end
  local output = math.max(txn:get_var("txn.rate_limit_held_output") or 0, self.events)
  local held = txn:get_var("txn.rate_limit_held") or ""
  return "/v1/settle", self.model .. held .. (',"output_tokens":%d'):format(output)
end

-- Comes once for the request and once for the answer, and for the request alone where there was no answer.
function Answer:end_analyze(txn, channel)
  if self.has_begun and not channel:is_resp() then return end
  local lease = txn:get_var("txn.rate_limit_lease")
  if not lease or self.is_settled then return end
  self.is_settled, open[self] = true, nil
  local path, body = self:settlement(txn)
  enqueue(path, "{" .. lease .. body .. "}")
end

core.register_filter("rate-limit", Answer, function(answer) return answer end)
