-- Takes a lock if nobody holds it, and numbers its holders.
-- KEYS     the lock, the last number
-- ARGV     the holder, TTL of the lock, TTL of the number, in milliseconds
-- returns  the number, higher than any before | 0 somebody holds it
-- clock    the server's TIME, but later than the last number in any case
-- TTL      as given
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
  return 0
end
local time = redis.call('TIME')
local number = time[1] * 1000000 + time[2]
local last = tonumber(redis.call('GET', KEYS[2]) or nil)
if last and last >= number then
  number = last + 1
end
redis.call('SET', KEYS[2], string.format('%.0f', number), 'PX', ARGV[3])
return number
