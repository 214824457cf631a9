-- Numbers a purge; with a second key, marks a tag or a URI with it, so that no response made before
-- can be stored after.
-- KEYS     the last purge [, the mark [, the response stored for the URI]]; or, where the mark is in
--          another slot, the mark alone
-- ARGV     TTL of the last purge, TTL of the mark, in milliseconds [, the number]
-- returns  the purge's number
-- clock    the server's TIME, but later than the last purge in any case
-- TTL      as given
local now = tonumber(ARGV[3])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local last = tonumber(redis.call('GET', KEYS[1]) or nil)
if last and last >= now then
  now = last + 1
end
local value = string.format('%.0f', now)
redis.call('SET', KEYS[1], value, 'PX', ARGV[1])
if KEYS[2] then
  redis.call('SET', KEYS[2], value, 'PX', ARGV[2])
end
if KEYS[3] then
  redis.call('UNLINK', KEYS[3])
end
return now
