-- Counts who is present, and lists those who are for longest.
-- KEYS[1]  the presence: who, by when it ends in milliseconds
-- ARGV     how many to list
-- returns  {how many, who, who, ...}
-- clock    the server's TIME
-- TTL      none: nothing is written
local time = redis.call('TIME')
local after = '(' .. string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local present = { redis.call('ZCOUNT', KEYS[1], after, '+inf') }
if ARGV[1] ~= '0' then
  local who = redis.call('ZREVRANGEBYSCORE', KEYS[1], '+inf', after, 'LIMIT', 0, ARGV[1])
  for i = 1, #who do
    present[i + 1] = who[i]
  end
end
return present
