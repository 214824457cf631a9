-- What every limit's script begins with.
-- KEYS     –
-- ARGV     …, [the act, now in micros (tests only, otherwise empty), and to refund, when it was charged]
-- returns  –
-- clock    the server's TIME
-- TTL      –
local function clock(now)
  if now and now ~= '' then
    return now + 0
  end
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

-- What is stored at a limit's key; nothing, where it is no string, which is none of ours.
local function stored_string(key)
  local state = redis.pcall('GET', key)
  if type(state) ~= 'table' then
    return state
  end
  -- Any other error is one.
  return string.find(state.err, 'WRONGTYPE', 1, true) == nil and redis.call('GET', key)
end

-- When a limit that is shut opens; nothing, if it is not.
local function shut_until(state, now)
  local shut = string.byte(state) == 33 and tonumber(string.sub(state, 2))
  return shut and shut > now and shut < 9007199254740992 and shut or nil
end
