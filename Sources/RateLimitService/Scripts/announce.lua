-- Says that a budget was changed, where the script that changed it cannot: in a cluster the version is on another node.
--
-- KEYS[1]  the version of all budgets
-- ARGV[1]  the version from now on, one that was never before
-- ARGV[2]  the channel, and ARGV[3] the message, to which the versions before and from now on are added
--
-- Replies the version before, '-' for none.

local version = redis.call('GET', KEYS[1]) or '-'
redis.call('SET', KEYS[1], ARGV[1])
-- Where a service forbids it, the version still tells.
redis.pcall('PUBLISH', ARGV[2], ARGV[3] .. ' ' .. version .. ' ' .. ARGV[1])
return version
