-- Keeps a key for longer, if it still holds a value.
-- KEYS[1]  the key
-- ARGV     the value it must hold, TTL in milliseconds
-- returns  1 kept | 0 not
-- clock    none
-- TTL      as given
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0
