-- Removes a value if it is still the one that was seen.
-- KEYS[1]  the value
-- ARGV     what was seen
-- returns  1 removed | 0 not: it is another by now, or gone
-- clock    none
-- TTL      none: nothing is written
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('UNLINK', KEYS[1])
end
return 0
