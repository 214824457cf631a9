-- Attempts, and then a time without any: policy/limiting/lockout.rs says what the numbers mean.
-- KEYS     the limit's state: "used:ends:opens:level", or "!until" while shut
-- ARGV     limit, cost, the window's length, the steps, by commas
-- returns  used, ends, when a lockout ends (0: there is none)
-- clock    as given
-- TTL      until the window or the lockout ends, and longer where there was one
local function lockout_step(at, level)
  local steps = {}
  for step in string.gmatch(ARGV[at + 3], '%d+') do
    steps[#steps + 1] = tonumber(step)
  end
  return steps[math.min(math.max(level, 1), #steps)], math.max(unpack(steps))
end

-- How long a level is remembered after the window or the lockout.
local function lockout_quiet(at, level)
  if level == 0 then
    return 0
  end
  local _, longest = lockout_step(at, level)
  return math.max(ARGV[at + 2] + 0, longest)
end

local function lockout_write(key, at, now, used, ends, opens, level)
  local state = string.format('%.0f:%.0f:%.0f:%.0f', used, ends, opens, level)
  local rest = math.max(ends, opens) + lockout_quiet(at, level) - now
  if rest > 0 and used + level > 0 then
    redis.call('SET', key, state, 'PX', math.ceil(rest / 1000))
  else
    redis.call('DEL', key)
  end
  return used, ends, opens
end

local function lockout_look(key, at, now, act, mark)
  local limit, cost, length = ARGV[at] + 0, ARGV[at + 1] + 0, ARGV[at + 2] + 0
  local used, ends, opens, level = 0, now + length, 0, 0
  local state = stored_string(key)
  if state then
    local shut = shut_until(state, now)
    if shut then
      return 2, shut, 0, 0
    end
    local a, b, c, d = string.match(state, '^(%d+):(%d+):(%d+):(%d+)$')
    a, b, c, d = tonumber(a), tonumber(b), tonumber(c), tonumber(d)
    local is_sane = a and math.max(a, b, c, d) < 9007199254740992
    if is_sane and math.max(b, c) + lockout_quiet(at, d) > now then
      level = d
      if c > now then
        -- Not longer than from now on: the clock may have gone back.
        used, ends, opens = a, b, math.min(c, now + lockout_step(at, d))
      elseif c == 0 and a > 0 and b > now then
        used, ends = a, math.min(b, ends)
      end
      if act ~= 'peek' and (0 < opens and opens < c or opens == 0 and used > 0 and ends < b) then
        lockout_write(key, at, now, used, ends, opens, level)
      end
    end
  end

  local asks = act ~= 'charge' and act ~= 'refund'
  if cost == 0 or (act == 'refund' and (used == 0 or (mark and mark ~= ends))) then
    return asks and opens > 0 and 0 or 1, used, ends, opens
  end
  if act == 'refund' then
    local rest = math.max(used - cost, 0)
    if opens > 0 and rest < limit then
      opens, level = 0, math.max(level - 1, 0)
    end
    return 1, used, ends, opens, rest, ends, opens, level
  end
  if asks and (opens > 0 or used + cost > limit) then
    return 0, used, ends, opens
  end
  if opens > 0 then
    return 1, used, ends, opens
  end
  local after = math.min(used + cost, 4503599627370496)
  if after >= limit then
    opens, level = now + lockout_step(at, level + 1), level + 1
  end
  return 1, used, ends, 0, after, ends, opens, level
end
