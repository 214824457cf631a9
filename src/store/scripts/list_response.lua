-- Takes a response into a tag's index, unless the tag was purged: one slot's part of what
-- store_response.lua does where all keys are on one server.
-- KEYS     the index, the purge mark; or for a URI, which has no index, the mark alone
-- ARGV     TTL in milliseconds, the last purge seen before the handler ran, the response's name
-- returns  1 not purged | 0 purged
-- clock    the server's TIME, for the index
-- TTL      the index as long as what it lists at least
local mark = tonumber(redis.call('GET', KEYS[2] or KEYS[1]) or nil)
if mark and mark > tonumber(ARGV[2]) then
  return 0
end
if KEYS[2] then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
  redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[3])
  if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then
    redis.call('PEXPIRE', KEYS[1], ARGV[1])
  end
end
return 1
