-- Fixed windows: policy/limiting/fixed_window.rs says what the numbers mean.
-- KEYS     the limit's state: "used:ends", or "!until" while shut
-- ARGV     limit, cost, the window's length, 'first' | 'multiple'; of a calendar, the end of the
--          current window and of the next, as the caller knows them
-- returns  used, ends, 0
-- clock    as given
-- TTL      until the window ends; nothing is kept where nothing is used
local function fixed_window_write(key, at, now, used, ends)
  if used == 0 then
    redis.call('DEL', key)
  else
    redis.call('SET', key, string.format('%.0f:%.0f', used, ends), 'PX', math.ceil((ends - now) / 1000))
  end
  return used, ends, 0
end

local function fixed_window_look(key, at, now, act, mark)
  local limit, cost, length, opening = ARGV[at] + 0, ARGV[at + 1] + 0, ARGV[at + 2] + 0, ARGV[at + 3]
  local used, ends, first = 0, 0, opening == 'first'
  if first then
    ends = now + length
  elseif opening == 'multiple' then
    ends = now - now % length + length
  else
    -- The server's clock says which window it is; a window that the caller did not know of is as long
    -- as the last one that it did.
    ends, length = length, opening - length
    while ends <= now do
      ends = ends + length
    end
  end
  local state = stored_string(key)
  if state then
    local shut = shut_until(state, now)
    if shut then
      return 2, shut, 0, 0
    end
    local stored, stored_ends = string.match(state, '^(%d+):(%d+)$')
    stored, stored_ends = tonumber(stored), tonumber(stored_ends)
    if stored and stored < 9007199254740992 then
      -- What ends later was left by another clock, or a longer window.
      if first and stored > 0 and stored_ends > now then
        used, ends = stored, math.min(stored_ends, ends)
      elseif not first and stored_ends >= ends then
        used = stored
      end
      if used > 0 and ends < stored_ends and act ~= 'peek' then
        fixed_window_write(key, at, now, used, ends)
      end
    end
  end

  if cost == 0 or (act == 'refund' and (used == 0 or (mark and mark ~= ends))) then
    return 1, used, ends, 0
  end
  if act == 'refund' then
    return 1, used, ends, 0, math.max(used - cost, 0), ends
  end
  if act ~= 'charge' and used + cost > limit then
    return 0, used, ends, 0
  end
  return 1, used, ends, 0, math.min(used + cost, 4503599627370496), ends
end
