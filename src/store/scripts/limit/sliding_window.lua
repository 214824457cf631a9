-- Two windows, of which the older one fades: policy/limiting/sliding_window.rs.
-- KEYS     the limit's state: "start:previous:current", or "!until" while shut
-- ARGV     limit, cost, the window's length
-- returns  start, previous, current
-- clock    as given
-- TTL      until nothing is left of it
local function sliding_window_write(key, at, now, start, previous, current)
  if previous + current == 0 then
    redis.call('DEL', key)
    return start, 0, 0
  end
  local length = ARGV[at + 2]
  local ends = start + (current > 0 and 2 or 1) * length
  local state = string.format('%.0f:%.0f:%.0f', start, previous, current)
  redis.call('SET', key, state, 'PX', math.ceil((ends - now) / 1000))
  return start, previous, current
end

-- Whether a/b <= c/d, where the products may pass 2^53: quotients are compared, and then, the other
-- way up, what remains.
local function at_most(a, b, c, d)
  while true do
    local whole, other = math.floor(a / b), math.floor(c / d)
    if whole ~= other then
      return whole < other
    end
    a, c = a - whole * b, c - other * d
    if a == 0 or c == 0 then
      return a == 0
    end
    a, b, c, d = d, c, b, a
  end
end

local function sliding_window_look(key, at, now, act, mark)
  local limit, cost, length = ARGV[at] + 0, ARGV[at + 1] + 0, ARGV[at + 2] + 0
  local start, previous, current = now - now % length, 0, 0
  local state = stored_string(key)
  if state then
    local shut = shut_until(state, now)
    if shut then
      return 2, shut, 0, 0
    end
    local stored, before, here = string.match(state, '^(%d+):(%d+):(%d+)$')
    stored, before, here = tonumber(stored), tonumber(before), tonumber(here)
    if stored and before < 9007199254740992 and here < 9007199254740992 then
      if stored >= start then
        previous, current = before, here
        if stored > start and act ~= 'peek' then
          sliding_window_write(key, at, now, start, previous, current)
        end
      elseif stored + length >= start then
        previous = here
      end
    end
  end

  if cost == 0 then
    return 1, start, previous, current
  end
  if act == 'refund' then
    local here = (not mark or mark == start) and math.min(cost, current) or 0
    local before = (not mark or mark + length == start) and math.min(cost - here, previous) or 0
    if here + before == 0 then
      return 1, start, previous, current
    end
    return 1, start, previous, current, start, previous - before, current - here
  end
  local room, left = limit - current - cost, start + length - now
  if act ~= 'charge' and (room < 0 or not at_most(previous, length, room, left)) then
    return 0, start, previous, current
  end
  return 1, start, previous, current, start, previous, math.min(current + cost, 4503599627370496)
end
