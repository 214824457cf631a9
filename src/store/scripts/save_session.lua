-- Replaces a session's record if it is still the one that was changed; moves it with a second key.
-- KEYS[1]  the session; KEYS[2] (optional) the id it rotates to
-- ARGV     the first 5 bytes of the record that was changed, the new record, TTL in milliseconds,
--          the last byte to return of a record
-- returns  1 saved | 0 gone | the record that another request saved meanwhile
-- clock    none
-- TTL      as given
if redis.call('GETRANGE', KEYS[1], 0, 4) ~= ARGV[1] then
  local saved = redis.call('GETRANGE', KEYS[1], 0, ARGV[4])
  return saved ~= '' and saved or 0
end
if KEYS[2] then
  redis.call('DEL', KEYS[1])
end
redis.call('SET', KEYS[2] or KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
