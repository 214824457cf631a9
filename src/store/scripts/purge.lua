-- Marks a tag or a URI as purged, so that no response made before can be stored after.
-- KEYS     the last purge, the mark [, the response stored for the URI]
-- ARGV     TTL of the last purge, TTL of the mark, in milliseconds
-- returns  nothing
-- clock    the server's TIME, but later than the last purge in any case
-- TTL      as given
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local last = tonumber(redis.call('GET', KEYS[1]) or nil)
if last and last >= now then
  now = last + 1
end
local value = string.format('%.0f', now)
redis.call('SET', KEYS[1], value, 'PX', ARGV[1])
redis.call('SET', KEYS[2], value, 'PX', ARGV[2])
if KEYS[3] then
  redis.call('UNLINK', KEYS[3])
end
