-- Limits of llm-rate-limit in HAProxy (tried with 2.6): the action rate-limit asks the daemon about a request.
--
-- It reads txn.rate_limit_user and sets txn.rate_limit_status, the status that the client is to get: 0 where the request
-- goes on; txn.rate_limit_body, the client's answer where it does not; and txn.rate_limit_retry_after,
-- txn.rate_limit_policy, txn.rate_limit and txn.rate_limit_degraded for its headers.

-- A listener of HAProxy's own, which has the deadlines and asks the daemon once; see haproxy.cfg.
local SOCKET = "unix@/run/haproxy/llm-rate-limit.sock"
-- Above the deadlines of that listener: the client in here sends again what does not answer in time.
local PATIENCE_MS = 2000

-- A text as JSON has it.
local function quoted(text)
  local escaped = text:gsub('[%c"\\]', function(character) return ("\\u%04x"):format(character:byte()) end)
  return '"' .. escaped .. '"'
end

local function refusal(kind, answer)
  -- The daemon's own text, still escaped as it was there.
  local message = answer:match('"message":"(.-[^\\])"') or answer:match('"detail":"(.-[^\\])"') or ""
  return ('{"error":{"type":"%s","code":"%s","message":"'):format(kind, kind) .. message .. '"}}'
end

core.register_action("rate-limit", { "http-req" }, function(txn)
  local user = txn:get_var("txn.rate_limit_user") or ""
  local client = core.httpclient()
  local answer = client:post({
    url = "http://localhost/v1/check", dst = SOCKET, timeout = PATIENCE_MS,
    headers = { ["content-type"] = { "application/json" } },
    body = '{"user":' .. quoted(user) .. "}",
  })
  local status, body, headers = answer.status, answer.body or "", answer.headers or {}
  txn:set_var("txn.rate_limit_status", 0)
  for name, header in pairs({ rate_limit = "ratelimit", rate_limit_policy = "ratelimit-policy",
                              rate_limit_retry_after = "retry-after" }) do
    if headers[header] then txn:set_var("txn." .. name, headers[header][0]) end
  end
  if status == 200 then
    local reason = body:match('"degraded":true,"reason":"([a-z_]+)"')
    if reason then txn:set_var("txn.rate_limit_degraded", reason) end
  elseif status == 429 or body:find('"at_capacity":true', 1, true) then
    txn:set_var("txn.rate_limit_status", 429)
    txn:set_var("txn.rate_limit_body", refusal("rate_limit_exceeded", body))
  elseif status == 503 and body:find('"status":503', 1, true) then
    -- The daemon's own 503: its failure mode is closed, and Redis is away.
    txn:set_var("txn.rate_limit_status", 503)
    txn:set_var("txn.rate_limit_body", refusal("rate_limit_unavailable", body))
  elseif status == 400 and body:find('"status":400', 1, true) then
    -- A user whom the daemon cannot limit does not pass unlimited.
    txn:set_var("txn.rate_limit_status", 400)
    txn:set_var("txn.rate_limit_body", refusal("invalid_user", body))
  else
    txn:set_var("txn.rate_limit_degraded", "daemon_unreachable")
  end
end)
