-- Takes from a GCRA limit if it fits (policy/gcra.rs says what the numbers mean).
-- KEYS[1]  the limit's state: "micros", or "micros:ticks" where ticks is not 0
-- ARGV     N, cost micros, cost ticks, burst micros, burst ticks [, now in micros: tests only]
-- returns  {1 allowed | 0 limited, now, arrival micros, arrival ticks}
-- clock    the server's TIME
-- TTL      until the arrival, when the limit is as if it had never been used
-- Times are split into whole microseconds and ticks of 1/N microsecond because their product would
-- pass 2^53, above which Lua's numbers lose bits. Microseconds since 1970 stay below until 2255.
local n, cost, cost_ticks = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local now = tonumber(ARGV[6])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local horizon, horizon_ticks = now + ARGV[4], tonumber(ARGV[5])

local micros, ticks = now, 0
local state = redis.call('GET', KEYS[1])
if state then
  local stored, stored_ticks = string.match(state, '^(%d+):?(%d*)$')
  stored, stored_ticks = tonumber(stored), tonumber(stored_ticks) or 0
  if stored and stored >= now then
    -- A smaller N than the one that wrote it knows fewer ticks.
    micros, ticks = stored, math.min(stored_ticks, n - 1)
  end
end
local repair = micros > horizon or (micros == horizon and ticks > horizon_ticks)
if repair then
  micros, ticks = horizon, horizon_ticks
end

local next, next_ticks = micros + cost, ticks + cost_ticks
if next_ticks >= n then
  next, next_ticks = next + 1, next_ticks - n
end
local allowed = next < horizon or (next == horizon and next_ticks <= horizon_ticks)
if allowed then
  micros, ticks = next, next_ticks
end
if (allowed and cost + cost_ticks > 0) or repair then
  -- An integer alone is stored without a string's overhead.
  local value = string.format('%.0f', micros)
  local ttl = micros - now
  if ticks > 0 then
    value = value .. ':' .. ticks
    ttl = ttl + 1
  end
  redis.call('SET', KEYS[1], value, 'PX', math.ceil(ttl / 1000))
end
return {allowed and 1 or 0, now, micros, ticks}
