-- Puts a response in its place, once all tags have listed it, and if it is still the one that waits: the
-- end of what store_response.lua does where all keys are on one server.
-- KEYS     the response that waits, its place
-- ARGV     TTL in milliseconds, what the response begins with: its head
-- returns  1 it is in its place | 0 it is another one by now, or gone
-- clock    none
-- TTL      as given
if redis.call('GETRANGE', KEYS[1], 0, #ARGV[2] - 1) ~= ARGV[2] then
  return 0
end
redis.call('RENAME', KEYS[1], KEYS[2])
return redis.call('PEXPIRE', KEYS[2], ARGV[1])
