-- Drops responses together with their places in a tag's index.
-- KEYS     the index, then the responses
-- ARGV     the responses' names in the index, in the same order
-- returns  how many of the responses were there
-- clock    none
-- TTL      none: nothing is written
local dropped = 0
for i = 2, #KEYS do
  dropped = dropped + redis.call('UNLINK', KEYS[i])
  redis.call('ZREM', KEYS[1], ARGV[i - 1])
end
return dropped
