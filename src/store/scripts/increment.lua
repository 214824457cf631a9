-- Adds to a counter, which begins at 0.
-- KEYS[1]  the counter
-- ARGV     what to add, TTL in milliseconds
-- returns  the sum in digits | nothing where the key holds no integer or the sum is out of range
-- clock    none
-- TTL      as given when the counter begins; adding to it does not renew it
redis.call('SET', KEYS[1], 0, 'PX', ARGV[2], 'NX')
local sum = redis.pcall('INCRBY', KEYS[1], ARGV[1])
if type(sum) == 'table' then
  return false
end
-- Read as text: Lua's numbers lose bits above 2^53.
return redis.call('GET', KEYS[1])
