-- Stores a response under its tags, unless what it was made of may have been purged meanwhile.
-- KEYS     the response, the purge mark of its URI, then of each tag: its index, its purge mark
-- ARGV     the encoded response, TTL in milliseconds, the last purge seen before the handler ran,
--          the response's name in the indexes
-- returns  1 stored | 0 not
-- clock    the server's TIME, for the indexes
-- TTL      the response as given; an index at least as long as what it lists
local seen = tonumber(ARGV[3])
for i = 2, #KEYS, 2 do
  local mark = tonumber(redis.call('GET', KEYS[i]) or nil)
  if mark and mark > seen then
    return 0
  end
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ttl = tonumber(ARGV[2])
for i = 3, #KEYS, 2 do
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now)
  redis.call('ZADD', KEYS[i], now + ttl, ARGV[4])
  if redis.call('PTTL', KEYS[i]) < ttl then
    redis.call('PEXPIRE', KEYS[i], ttl)
  end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ttl)
return 1
