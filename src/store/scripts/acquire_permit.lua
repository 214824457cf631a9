-- Holds a permit from now on: the one that the holder has, or else one that is free.
-- KEYS[1]  the semaphore: holders, by when their lease ends in microseconds
-- ARGV     holder, how many permits there are, lease in microseconds, [now in micros (tests only)]
-- returns  how many are held: n with this one | -n, as none is free
-- clock    the server's TIME
-- TTL      at least as long as any lease
local now = clock(ARGV[4])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local held = redis.call('ZCARD', KEYS[1])
if held >= tonumber(ARGV[2]) and not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  return -held
end
held = held + redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
local time_to_live = math.floor(ARGV[3] / 1000) + 1
if redis.call('PTTL', KEYS[1]) < time_to_live then
  redis.call('PEXPIRE', KEYS[1], time_to_live)
end
return held
