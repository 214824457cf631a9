-- One act on one limit.
-- KEYS     the limit's state
-- ARGV     what its algorithm takes, filled up to 5; then the act ('take' unless said otherwise), now
--          (in tests), what was charged in which window; and to charge or refund, where something of it is
--          known to others, the channel to tell it on, and what to say
-- returns  {now, a code, then what the algorithm returns, after the act, without zeros at the end}; the
--          code is four times the algorithm's number, and 0 refused | 1 fits, or was done | 2 shut
-- clock    as given by clock.lua
-- TTL      as the algorithm's
local act, now = ARGV[6] or 'take', clock(ARGV[7])
local code, a, b, c, w, x, y, z = look(KEYS[1], 1, now, act, tonumber(ARGV[8]))
if w and act ~= 'peek' then
  a, b, c = write(KEYS[1], 1, now, w, x, y, z)
end
if ARGV[9] then
  -- Not everybody may publish: that is no reason to fail.
  redis.pcall('PUBLISH', ARGV[9], ARGV[10])
end
-- Reading a value of a reply costs its client more than computing it: zeros at the end are left out.
if c ~= 0 then
  return {now, number * 4 + code, a, b, c}
elseif b ~= 0 then
  return {now, number * 4 + code, a, b}
end
return {now, number * 4 + code, a}
