-- Forgets what a limit has counted, and tells those who know something of it.
-- KEYS     the limit's state
-- ARGV     the channel to tell it on, and what to say
-- returns  1 there was something | 0 there was not
-- clock    –
-- TTL      –
local there = redis.call('DEL', KEYS[1])
-- Not everybody may publish: that is no reason to fail.
redis.pcall('PUBLISH', ARGV[1], ARGV[2])
return there
