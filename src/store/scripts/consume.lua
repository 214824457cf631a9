-- Hands entries of a log to a worker of a group: those that were not done in time, then new ones.
-- KEYS[1]  the log
-- ARGV     the group, the worker, how many, after how many milliseconds an entry is handed out again,
--          the id after which such entries are looked for, behind a bracket
-- returns  the entries
-- clock    the server's
-- TTL      none: a log that is absent stays so
if redis.call('EXISTS', KEYS[1]) == 0 then
  return {}
end
local log, group, worker, limit = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])
local entries, from, looked_at = {}, ARGV[5], 0
-- One call looks at ten times as many as it may find, so those whose time has not come could hide
-- the others. Of very many the rest is for a later call: the server does nothing else meanwhile.
repeat
  local count = limit - #entries
  local again = redis.pcall('XAUTOCLAIM', log, group, worker, ARGV[4], from, 'COUNT', count, 'JUSTID')
  if again.err then
    -- A new group, which begins with what the log holds.
    redis.call('XGROUP', 'CREATE', log, group, '0')
    again = { '0-0', {} }
  end
  for _, id in ipairs(again[2]) do
    local entry = redis.call('XRANGE', log, id, id)[1]
    if entry then
      entries[#entries + 1] = entry
    else
      -- The log has dropped it meanwhile.
      redis.call('XACK', log, group, id)
    end
  end
  from, looked_at = again[1], looked_at + 10 * count
until from == '0-0' or #entries == limit or looked_at >= 10000
if #entries < limit then
  local count = limit - #entries
  local new = redis.call('XREADGROUP', 'GROUP', group, worker, 'COUNT', count, 'STREAMS', log, '>')
  for _, entry in ipairs(new and new[1][2] or {}) do
    entries[#entries + 1] = entry
  end
end
return entries
