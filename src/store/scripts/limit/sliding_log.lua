-- A log of what was admitted: policy/limiting/sliding_log.rs says what the numbers mean.
-- KEYS     the limit's state, a list: base, time, sum, time, sum, …, or the string "!until" while shut.
--          What expires goes from its head, in pairs, and the last sum that went is the new base; where
--          something is given back, all later sums are lowered
-- ARGV     limit, cost, the window's length
-- returns  used, when what was asked for will fit (0: it fits, or never will), when the log is empty
-- clock    as given
-- TTL      until the last entry ends, but at least a second
local function element(key, index)
  return tonumber(redis.call('LINDEX', key, index)) or 0
end

-- The first of `count` pairs whose time (shift 1) or sum (shift 0) is not below `wanted`.
local function first_pair(key, count, shift, wanted)
  local from, to = 1, count + 1
  while from < to do
    local middle = math.floor((from + to) / 2)
    if element(key, middle * 2 - shift) < wanted then
      from = middle + 1
    else
      to = middle
    end
  end
  return from
end

-- PEXPIRE reads the clock twice, and deletes at once what ended in between: of what is written after
-- that, the head would be missing. So a list is never left a time as short as that.
local function sliding_log_keep(key, time)
  redis.call('PEXPIRE', key, math.max(1000, math.ceil(time / 1000)))
end

-- Takes out what was charged between two sums, of which `to` is a pair's. What is given back is mostly
-- of late, so that few sums come after it.
local function sliding_log_cut(key, from, to)
  local count = math.floor((redis.call('LLEN', key) - 1) / 2)
  local later = redis.call('LRANGE', key, first_pair(key, count, 0, to) * 2 + 1, -1)
  -- A pair before the cut stays, or the part of one.
  local kept = from > element(key, 0) and first_pair(key, count, 0, from) or 0
  redis.call('LTRIM', key, 0, kept * 2)
  if kept > 0 then
    redis.call('LSET', key, -1, string.format('%.0f', from))
  end
  for i = 2, #later, 2 do
    later[i] = string.format('%.0f', later[i] - (to - from))
  end
  -- As many at a time as there is room for on Lua's stack.
  for i = 1, #later, 4000 do
    redis.call('RPUSH', key, unpack(later, i, math.min(i + 3999, #later)))
  end
end

local function sliding_log_write(key, at, now, added, used, sum, last)
  local length = ARGV[at + 2] + 0
  if added > 0 then
    local after = string.format('%.0f', sum + added)
    if used == 0 then
      redis.call('DEL', key)
      redis.call('RPUSH', key, 0, now, added)
      last = now
    elseif last == now then
      redis.call('LSET', key, -1, after)
    else
      redis.call('RPUSH', key, now, after)
      last = now
    end
    sliding_log_keep(key, last + length - now)
    return used + added, 0, last + length
  end
  -- Given back: what was charged up to this sum.
  if used + added <= 0 then
    redis.call('DEL', key)
    return 0, 0, 0
  end
  sliding_log_cut(key, sum + added, sum)
  last = element(key, -2)
  sliding_log_keep(key, last + length - now)
  return used + added, 0, last + length
end

-- Drops what has ended, up to the first live pair, and makes what another clock left one of now.
local function sliding_log_bring_up(key, now, length, count, first, sum, last)
  if last > now then
    count, last = first_pair(key, count, 1, now + 1), now
    redis.call('LTRIM', key, 0, (count - 1) * 2)
    redis.call('RPUSH', key, now, string.format('%.0f', sum))
  end
  redis.call('LTRIM', key, (first - 1) * 2, -1)
  sliding_log_keep(key, last + length - now)
  return count - first + 1, last
end

local function sliding_log_look(key, at, now, act, mark)
  local limit, cost, length = ARGV[at] + 0, ARGV[at + 1] + 0, ARGV[at + 2] + 0
  local used, fits, empty = 0, 0, 0
  local elements = redis.pcall('LLEN', key)
  if type(elements) == 'table' then
    -- Not a list.
    local state = stored_string(key)
    local shut = state and shut_until(state, now)
    if shut then
      return 2, shut, 0, 0
    end
    elements = 0
  end
  local count, first, sum, last = math.floor((elements - 1) / 2), 1, 0, 0
  if count > 0 then
    sum, last = element(key, -1), element(key, -2)
    if element(key, 1) + length <= now then
      first = first_pair(key, count, 1, now - length + 1)
    end
    used = sum - element(key, (first - 1) * 2)
    if not (used > 0 and sum < 9007199254740992) then
      -- All of it has ended, or it is no log.
      used, sum, last = 0, 0, 0
      if act ~= 'peek' then
        redis.call('DEL', key)
      end
    elseif act ~= 'peek' and (last > now or first > 1) then
      count, last = sliding_log_bring_up(key, now, length, count, first, sum, last)
    end
    -- What is yet to come counts as of now, or it would lock its key out.
    empty = used > 0 and math.min(last, now) + length or 0
  end

  if cost == 0 or (act == 'refund' and used == 0) then
    return 1, used, 0, empty
  end
  if act == 'refund' then
    -- What was charged at that time, or else last.
    local from, to = element(key, 0), sum
    if mark then
      from = element(key, (first_pair(key, count, 1, mark) - 1) * 2)
      to = element(key, (first_pair(key, count, 1, mark + 1) - 1) * 2)
    end
    from = math.max(from, to - cost)
    if from >= to then
      return 1, used, 0, empty
    end
    return 1, used, 0, empty, from - to, used, to
  end
  if act ~= 'charge' and used + cost > limit then
    if cost <= limit then
      local pair = first_pair(key, count, 0, sum + cost - limit)
      fits = math.min(element(key, pair * 2 - 1), now) + length
    end
    return 0, used, fits, empty
  end
  return 1, used, 0, empty, cost, used, sum, last
end
