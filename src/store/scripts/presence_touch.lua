-- Notes that somebody is present for a while from now on.
-- KEYS[1]  the presence: who, by when it ends in milliseconds
-- ARGV     who, for how many milliseconds
-- returns  nothing
-- clock    the server's TIME
-- TTL      at least as long as anybody is present
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
