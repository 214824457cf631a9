-- Takes from a GCRA limit if it fits (policy/gcra.rs says what the numbers mean).
-- KEYS[1]  the limit's state: micros, or "micros:ticks" where ticks is not 0
-- ARGV     N, cost micros, cost ticks, burst micros, burst ticks [, now in micros: tests only]
-- returns  {1 allowed | 0 limited, now, arrival micros, arrival ticks}
-- clock    the server's TIME
-- TTL      until the arrival, when the limit is as if it had never been used
-- Times are split into whole microseconds and ticks of 1/N microsecond because their product would
-- pass 2^53, above which Lua's numbers lose bits. Microseconds since 1970 stay below until 2255,
-- and an integer below 2^53 is also what redis.call spells exactly.
local n, horizon_ticks = ARGV[1] + 0, ARGV[5] + 0
local now = ARGV[6]
if now then
  now = now + 0
else
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local horizon = now + ARGV[4]

local micros, ticks, write = now, 0, false
local state = redis.call('GET', KEYS[1])
if state then
  local stored, stored_ticks = tonumber(state), 0
  if not stored then
    stored, stored_ticks = string.match(state, '^(%d+):(%d+)$')
    stored, stored_ticks = tonumber(stored), tonumber(stored_ticks)
  end
  if stored and stored >= now and stored < 9007199254740992 then
    -- A smaller N than the one that wrote it knows fewer ticks.
    micros, ticks = stored, stored_ticks < n and stored_ticks or n - 1
    -- Left by another clock or a larger burst: brought back, or it would lock its key out.
    if micros > horizon or (micros == horizon and ticks > horizon_ticks) then
      micros, ticks, write = horizon, horizon_ticks, true
    end
  end
end

local next, next_ticks, allowed = micros + ARGV[2], ticks + ARGV[3], 0
if next_ticks >= n then
  next, next_ticks = next + 1, next_ticks - n
end
if next < horizon or (next == horizon and next_ticks <= horizon_ticks) then
  write = write or next > micros or next_ticks > ticks
  micros, ticks, allowed = next, next_ticks, 1
end
if write then
  local value, ttl = micros, micros - now
  if ticks > 0 then
    value, ttl = string.format('%.0f:%.0f', micros, ticks), ttl + 1
  end
  -- An integer alone is kept without a string's overhead.
  redis.call('SET', KEYS[1], value, 'PX', math.ceil(ttl / 1000))
end
return {allowed, now, micros, ticks}
