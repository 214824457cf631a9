-- One act on several limits: to take, all or none.
-- KEYS     the limits' states
-- ARGV     for each its algorithm's letter, a capital where it refuses nobody, and what the algorithm
--          takes, filled up to 5; then as one.lua
-- returns  {now}, then for each what one.lua returns
-- clock    as given by clock.lua
-- TTL      as the algorithms'
local algorithms = {
  g = {gcra_look, gcra_write, 0},
  f = {fixed_window_look, fixed_window_write, 1},
  s = {sliding_window_look, sliding_window_write, 2},
  l = {sliding_log_look, sliding_log_write, 3},
  o = {lockout_look, lockout_write, 4},
}
local last = #KEYS * 6
local act, now = ARGV[last + 1] or 'take', clock(ARGV[last + 2])
local looks, passes = {}, true
for i, key in ipairs(KEYS) do
  local letter = ARGV[i * 6 - 5]
  local algorithm = algorithms[string.lower(letter)]
  looks[i] = {algorithm[3], algorithm[2], algorithm[1](key, i * 6 - 4, now, act, tonumber(ARGV[last + 2 + i]))}
  if looks[i][3] ~= 1 and letter == string.lower(letter) then
    passes = false
  end
end
local reply = {now}
for i, key in ipairs(KEYS) do
  local number, write, code, a, b, c, w, x, y, z = unpack(looks[i], 1, 10)
  if w and (act ~= 'take' or passes) and act ~= 'peek' then
    a, b, c = write(key, i * 6 - 4, now, w, x, y, z)
  end
  local at = i * 4 - 2
  reply[at], reply[at + 1], reply[at + 2], reply[at + 3] = number * 4 + code, a, b, c
end
local told = last + 3 + #KEYS
if ARGV[told] then
  for i = 1, #KEYS do
    redis.pcall('PUBLISH', ARGV[told], ARGV[told + i])
  end
end
return reply
