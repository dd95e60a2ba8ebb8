-- Limits of llm-rate-limit in nginx, with lua-nginx-module (Debian's libnginx-mod-http-lua, OpenResty) and lua-cjson.
--
-- check(user)     in access_by_lua: lets a request through, or answers it with 429
-- reserve(user)   in access_by_lua: the same, and holds what the call may take of tokens and money
--                 Where the user is empty it is the client's address.
-- watch()         in body_filter_by_lua: reads from the model's answer what the call took, and charges it at the end
-- settle()        in log_by_lua: charges what has not come to its end in place of what was held
--
-- Where the daemon does not answer in time the request goes on, and the answer has X-Rate-Limit-Degraded.
local cjson = require("cjson.safe")

local settings = {
  socket = "unix:/run/llm-rate-limit/llm-rate-limit.sock",
  -- How long a request waits for its decision before it is let through.
  deadline_ms = 200,
  -- Seconds after which what a worker that died held is free again. Above what a call may last.
  ttl = 600,
  -- Open connections that each worker keeps.
  connections = 64,
}

-- What is kept of one answer, at most: the line of a stream, or an answer that is no stream.
local KEPT_BYTES = 1048576
-- The longest model that the daemon is asked with: what it refuses without reading the call would be let through.
local MODEL_BYTES = 1024
-- A settlement is sent again after so many seconds: longer than the daemon or Redis need to start.
local PAUSES = { 1, 2, 5, 20, 60 }
local SETTLEMENT_DEADLINE_MS = 2000
-- Seconds between two lines of the log about the same: each worker has lines of its own.
local LOG_PAUSE_SECONDS = 10
-- What the client gets of the daemon's headers, where they are there.
local HEADERS = {
  "RateLimit", "RateLimit-Policy", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "Retry-After",
  "X-Rate-Limit-Over",
}

local M = {}

--- Changes settings, in init_by_lua.
function M.configure(given)
  for name, value in pairs(given) do
    if settings[name] == nil then
      error("cannot configure llm_rate_limit: there is no setting " .. name)
    end
    settings[name] = value
  end
end

-- The daemon ---------------------------------------------------------------------------------------------------------

-- Each wait gets what is left of the deadline of the whole question.
local function within(socket, deadline)
  ngx.update_time()
  socket:settimeout(math.max(1, math.floor((deadline - ngx.now()) * 1000)))
  return socket
end

local function read_answer(socket, deadline)
  local line, failure = within(socket, deadline):receive("*l")
  if not line then return nil, failure end
  local answer = { status = tonumber(line:match("^HTTP/1%.1 (%d%d%d)")), headers = {}, body = {} }
  if not answer.status then return nil, "no HTTP" end
  repeat
    line, failure = within(socket, deadline):receive("*l")
    -- The first line was there: it is no pooled connection that had been closed.
    if not line then return nil, "cut short: " .. failure end
    local name, value = line:match("^([^:]+):%s*(.*)$")
    if name then answer.headers[name:lower()] = value end
  until line == ""
  local length = tonumber(answer.headers["content-length"]) or 0
  if length > 0 then
    local text
    text, failure = within(socket, deadline):receive(length)
    if not text then return nil, "cut short: " .. failure end
    answer.body = cjson.decode(text) or {}
  end
  return answer
end

-- Posts one call; gives the answer, or nil and why there is none.
local function ask(path, call, deadline_ms)
  ngx.update_time()
  local deadline = ngx.now() + deadline_ms / 1000
  local body = cjson.encode(call)
  local request = {
    "POST ", path, " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ", #body,
    "\r\n\r\n", body,
  }
  local failure
  -- A daemon that has been restarted has closed the pooled connections: each is tried once, then a new one.
  for _ = 0, settings.connections do
    local socket = ngx.socket.tcp()
    local connected, answer
    connected, failure = within(socket, deadline):connect(settings.socket)
    if not connected then return nil, failure end
    local is_pooled = socket:getreusedtimes() > 0
    connected, failure = within(socket, deadline):send(request)
    if connected then answer, failure = read_answer(socket, deadline) end
    if answer then
      if answer.headers["connection"] == "close" then
        socket:close()
      else
        socket:setkeepalive(60000, settings.connections)
      end
      return answer
    end
    socket:close()
    if not (is_pooled and failure == "closed") then return nil, failure end
  end
  return nil, failure
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
    return ("address:%d.%d.%d.%d"):format(
      math.floor(all[7] / 256), all[7] % 256, math.floor(all[8] / 256), all[8] % 256)
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
  if (failure ~= nil) == is_away or ngx.now() - noted_at < LOG_PAUSE_SECONDS then return end
  is_away, noted_at = failure ~= nil, ngx.now()
  if is_away then
    ngx.log(ngx.ERR, "llm-rate-limit does not decide, requests are let through: ", failure)
  else
    ngx.log(ngx.NOTICE, "llm-rate-limit decides again")
  end
end

local function refuse(status, kind, message)
  local text = cjson.encode({ error = { type = kind, code = kind, message = message } }) .. "\n"
  ngx.status = status
  ngx.header["Content-Type"] = "application/json"
  ngx.header["Content-Length"] = #text
  ngx.print(text)
  return ngx.exit(ngx.HTTP_OK)
end

-- Whether a request goes on under an answer. Where it does not, the client has been answered.
local function admit(answer, failure)
  if answer and answer.status ~= 200 and answer.status ~= 400 and answer.status ~= 429 and answer.status ~= 503 then
    answer, failure = nil, "status " .. answer.status .. ", " .. tostring(answer.body.detail)
  end
  note(failure)
  if not answer then
    ngx.header["X-Rate-Limit-Degraded"] = "daemon_unreachable"
    return true
  end
  for _, name in ipairs(HEADERS) do
    ngx.header[name] = answer.headers[name:lower()]
  end
  if answer.status == 200 then
    if answer.body.degraded == true then ngx.header["X-Rate-Limit-Degraded"] = answer.body.reason end
    return true
  end
  if answer.status == 429 or answer.body.at_capacity == true then
    refuse(429, "rate_limit_exceeded", answer.body.message)
  elseif answer.status == 503 then
    -- The failure mode is closed, and Redis is away.
    refuse(503, "rate_limit_unavailable", answer.body.detail)
  else
    -- A user whom the daemon cannot limit does not pass unlimited.
    refuse(400, "invalid_user", answer.body.detail)
  end
  return false
end

-- The model that a request asks for; nil where it names none.
local function requested_model()
  ngx.req.read_body()
  local text = ngx.req.get_body_data()
  local request = text and cjson.decode(text)
  local model = type(request) == "table" and request.model
  return type(model) == "string" and model or nil, text and #text or 0
end

-- Who is charged; nothing where that cannot be said, and the client has been answered.
local function charged(user)
  if not user or user == "" then return user_at(ngx.var.remote_addr) end
  if user:find("^address:") or user:find("^api%-key:") then
    return refuse(400, "invalid_user", "A user begins with address: or api-key:, which are not for users.")
  end
  -- Of two headers the first is in the variable, and nobody can tell which is the proxy's.
  if type(ngx.req.get_headers(0)["X-User-Id"]) == "table" then
    return refuse(400, "invalid_user", "The header X-User-Id stands more than once.")
  end
  return user
end

--- Charges one request, in access_by_lua.
function M.check(user)
  user = charged(user)
  if user then admit(ask("/v1/check", { user = user }, settings.deadline_ms)) end
end

--- Charges one request and holds the estimate of what it takes, in access_by_lua.
function M.reserve(user)
  user = charged(user)
  if not user then return end
  local model, bytes = requested_model()
  if model and #model > MODEL_BYTES then
    return refuse(400, "invalid_model", "The model's name is above " .. MODEL_BYTES .. " bytes.")
  end
  local answer, failure =
    ask("/v1/reserve", { user = user, model = model, ttl = settings.ttl }, settings.deadline_ms)
  if not admit(answer, failure) or not answer or not answer.body.lease then return end
  ngx.ctx.llm_rate_limit = {
    lease = answer.body.lease, user = user, estimate = answer.body.estimate or {}, request_bytes = bytes,
    parts = {}, bytes = 0, rest = "", events = 0, is_whole = false,
  }
end

-- What a call took ---------------------------------------------------------------------------------------------------

-- Takes the usage out of an answer or of a stream's event: OpenAI's chat and responses, Anthropic's, Gemini's.
-- Anthropic tells the input when a stream begins and the output when it ends, so members are put together.
local function take_usage(call, text)
  local object = cjson.decode(text)
  if type(object) ~= "table" then return end
  local holder = object
  if type(object.response) == "table" then
    holder = object.response
  elseif type(object.message) == "table" then
    holder = object.message
  end
  local usage = holder.usage or holder.usageMetadata
  if type(usage) ~= "table" then return end
  call.usage = call.usage or {}
  for name, value in pairs(usage) do call.usage[name] = value end
  -- Of the events of the responses API only those that end it have a usage.
  if holder == object.response then call.is_whole = true end
end

local function take_line(call, line)
  if line:sub(1, 5) == "data:" then
    call.events = call.events + 1
    if line:find("^data: *%[DONE%]") then
      call.is_whole = true
    elseif line:find('"usage%a*" *: *{') then
      take_usage(call, line:sub(6))
    end
  elseif line:find("^event: *message_stop") then
    call.is_whole = true
  end
end

local function take_stream(call, chunk)
  local text = call.rest .. chunk
  local start = 1
  while true do
    local stop = text:find("\n", start, true)
    if not stop then break end
    if not call.skips then take_line(call, text:sub(start, stop - 1)) end
    call.skips = false
    start = stop + 1
  end
  call.rest = text:sub(start)
  if #call.rest > KEPT_BYTES then
    call.rest, call.skips = "", true
  end
end

-- What is charged for a call that does not tell what it took, such as a stream that the client cut: the estimate, and
-- a token at least for each event that was passed on. Were it less, cutting streams would be free.
local function assumed(call)
  local input, output = tonumber(call.estimate.input_tokens) or 0, tonumber(call.estimate.output_tokens) or 0
  -- Nothing is known yet of this user's calls or this model's: about four bytes are a token.
  if call.estimate.source == "none" then input = math.ceil(call.request_bytes / 4) end
  return {
    lease = call.lease, user = call.user, input_tokens = input, output_tokens = math.max(output, call.events),
    cache_read_input_tokens = call.estimate.cache_read_input_tokens,
    cache_write_input_tokens = call.estimate.cache_write_input_tokens,
  }
end

local lost, last_reason, is_reported = 0, "", true

-- The lines of a while are one.
local function report()
  ngx.log(ngx.ERR, "llm-rate-limit was not told what ", lost, " calls took: ", last_reason)
  lost, is_reported = 0, true
end

local function lose(reason)
  lost, last_reason = lost + 1, reason
  if not is_reported then return end
  is_reported = false
  if not ngx.timer.at(LOG_PAUSE_SECONDS, report) then report() end
end

local function deliver(is_ending, path, body, attempt)
  local answer, failure = ask(path, body, SETTLEMENT_DEADLINE_MS)
  if answer and answer.status < 500 then
    if answer.status ~= 200 and path ~= "/v1/release" then
      lose("status " .. answer.status .. ", " .. tostring(answer.body.detail))
    end
    return
  end
  local pause = PAUSES[attempt]
  if is_ending or not pause or not ngx.timer.at(pause, deliver, path, body, attempt + 1) then
    lose(failure or "status " .. answer.status)
  end
end

--- Charges what the call took, once: in log_by_lua, for the answers that did not come to their end.
function M.settle()
  local call = ngx.ctx.llm_rate_limit
  if not call or call.is_settled then return end
  call.is_settled = true
  local status = tonumber(ngx.var.status) or 0
  local path, body = "/v1/settle", nil
  if status >= 400 and status ~= 499 and status ~= 504 then
    -- The model refused the call, or was not reached. A client that went away, and a model that was too slow, cost.
    path, body = "/v1/release", { lease = call.lease, user = call.user }
  elseif call.is_whole and call.usage then
    body = { lease = call.lease, user = call.user, usage = call.usage }
  else
    body = assumed(call)
  end
  -- There are no sockets in these phases; a timer has them.
  local is_set, failure = ngx.timer.at(0, deliver, path, body, 1)
  if not is_set then lose(failure) end
end

--- Reads one part of the answer, in body_filter_by_lua.
function M.watch()
  local call = ngx.ctx.llm_rate_limit
  if not call then return end
  local chunk, is_last = ngx.arg[1], ngx.arg[2]
  if call.is_stream == nil then
    call.is_stream = (ngx.header["Content-Type"] or ""):find("text/event-stream", 1, true) ~= nil
  end
  if chunk and chunk ~= "" then
    if call.is_stream then
      take_stream(call, chunk)
    else
      call.bytes = call.bytes + #chunk
      if call.bytes <= KEPT_BYTES then call.parts[#call.parts + 1] = chunk end
    end
  end
  if not is_last then return end
  call.is_whole = true
  if call.is_stream then
    take_line(call, call.rest)
  elseif call.bytes <= KEPT_BYTES then
    take_usage(call, table.concat(call.parts))
  end
  -- The log phase comes later, where the client is slow to close.
  M.settle()
end

return M
