-- Revokes what was issued to a subject up to a time; a later revocation stays.
-- KEYS[1]  the subject
-- ARGV     TTL in milliseconds [, the time in microseconds since 1970]
-- returns  the time in force
-- clock    the server's TIME, where no time is given
-- TTL      as given
local till = tonumber(ARGV[2])
if not till then
  local time = redis.call('TIME')
  till = time[1] * 1000000 + time[2]
end
local known = tonumber(redis.call('GET', KEYS[1]) or nil)
if known and known > till then
  till = known
end
redis.call('SET', KEYS[1], string.format('%.0f', till), 'PX', ARGV[1])
return till
