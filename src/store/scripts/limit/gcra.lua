-- GCRA: policy/limiting/gcra.rs says what the numbers mean.
-- KEYS     the limit's state: micros, or "micros:ticks" where ticks is not 0, or "!until" while shut
-- ARGV     N, cost micros, cost ticks, burst micros, burst ticks
-- returns  micros, ticks, 0
-- clock    as given
-- TTL      until the arrival, when the limit is as if it had never been used
-- Times are split into whole microseconds and ticks of 1/N microsecond because their product would
-- pass 2^53, above which Lua's numbers lose bits. Microseconds since 1970 stay below until 2255,
-- and an integer below 2^53 is also what redis.call spells exactly.
local function gcra_write(key, at, now, micros, ticks)
  if micros < now or (micros == now and ticks == 0) then
    redis.call('DEL', key)
    return micros, ticks, 0
  end
  local value, ttl = micros, micros - now
  if ticks > 0 then
    value, ttl = string.format('%.0f:%.0f', micros, ticks), ttl + 1
  end
  -- An integer alone is kept without a string's overhead.
  redis.call('SET', key, value, 'PX', math.ceil(ttl / 1000))
  return micros, ticks, 0
end

local function gcra_look(key, at, now, act, mark)
  local n, horizon, horizon_ticks = ARGV[at] + 0, now + ARGV[at + 3], ARGV[at + 4] + 0
  local micros, ticks = now, 0
  local state = stored_string(key)
  if state then
    local stored, stored_ticks = tonumber(state), 0
    if not stored then
      local shut = shut_until(state, now)
      if shut then
        return 2, shut, 0, 0
      end
      stored, stored_ticks = string.match(state, '^(%d+):(%d+)$')
      stored, stored_ticks = tonumber(stored), tonumber(stored_ticks)
    end
    if stored and stored >= now and stored < 9007199254740992 then
      -- A smaller N than the one that wrote it knows fewer ticks.
      micros, ticks = stored, stored_ticks < n and stored_ticks or n - 1
      -- Left by another clock or a larger burst: brought back, or it would lock its key out.
      if micros > horizon or (micros == horizon and ticks > horizon_ticks) then
        micros, ticks = horizon, horizon_ticks
        if act ~= 'peek' then
          gcra_write(key, at, now, micros, ticks)
        end
      end
    end
  end

  local next, next_ticks
  if act == 'refund' then
    local back, back_ticks = ARGV[at + 1] + 0, ARGV[at + 2] + 0
    -- What has come back by itself is not given back a second time.
    if mark and now + back >= mark then
      back, back_ticks = math.max(mark - now, 0), 0
    end
    next, next_ticks = micros - back, ticks - back_ticks
    if next_ticks < 0 then
      next, next_ticks = next - 1, next_ticks + n
    end
    if next < now then
      next, next_ticks = now, 0
    end
  else
    next, next_ticks = micros + ARGV[at + 1], ticks + ARGV[at + 2]
    if next_ticks >= n then
      next, next_ticks = next + 1, next_ticks - n
    end
    if next > horizon or (next == horizon and next_ticks > horizon_ticks) then
      if act ~= 'charge' then
        return 0, micros, ticks, 0
      end
      next, next_ticks = horizon, horizon_ticks
    end
  end
  if next == micros and next_ticks == ticks then
    return 1, micros, ticks, 0
  end
  return 1, micros, ticks, 0, next, next_ticks
end
