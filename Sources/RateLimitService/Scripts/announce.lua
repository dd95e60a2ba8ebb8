-- Says that something was changed, where the script that changed it does not: a reset, a limit, and in a cluster a budget,
-- whose version is on another node.
--
-- KEYS[1]  the version of all that the daemons tell each other
-- ARGV[1]  the version from now on, one that was never before
-- ARGV[2]  the channel, and ARGV[3] the message, to which the versions before and from now on are added
--
-- Replies the error with which a service forbids PUBLISH, which the version makes up for; '' for none.

local version = redis.call('GET', KEYS[1]) or '-'
redis.call('SET', KEYS[1], ARGV[1])
local heard = redis.pcall('PUBLISH', ARGV[2], ARGV[3] .. ' ' .. version .. ' ' .. ARGV[1])
return type(heard) == 'table' and heard.err or ''
