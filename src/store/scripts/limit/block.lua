-- Shuts a limit for a time, or opens it again, as it opens a lockout.
-- KEYS     the limit's state
-- ARGV     how long in microseconds, 0 to open it; the channel to tell it on, and what to say
-- returns  1 it was shut before | 0 it was not
-- clock    the server's TIME
-- TTL      until it opens; what a lockout has counted keeps its own
local now = clock()
local state = stored_string(KEYS[1])
local shut = state and shut_until(state, now)
local ends, opens, level
if state and not shut then
  ends, opens, level = string.match(state, '^%d+:(%d+):(%d+):(%d+)$')
  shut = opens and tonumber(opens) > now
end
local time = ARGV[1] + 0
if time > 0 then
  redis.call('SET', KEYS[1], string.format('!%.0f', now + time), 'PX', math.ceil(time / 1000))
elseif shut and opens then
  -- How often it was locked out is remembered.
  redis.call('SET', KEYS[1], '0:' .. ends .. ':0:' .. level, 'KEEPTTL')
elseif shut then
  redis.call('DEL', KEYS[1])
end
-- Not everybody may publish: that is no reason to fail.
redis.pcall('PUBLISH', ARGV[2], ARGV[3])
return shut and 1 or 0
