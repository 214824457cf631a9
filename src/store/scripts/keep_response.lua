-- Lets a response stay for as long as it is fresh, once all tags have listed it, and if it is still the
-- one that was stored: the end of what store_response.lua does where all keys are on one server.
-- KEYS     the response
-- ARGV     TTL in milliseconds, what the stored response begins with: its head
-- returns  1 it stays | 0 it is another one by now, or gone
-- clock    none
-- TTL      as given
if redis.call('GETRANGE', KEYS[1], 0, #ARGV[2] - 1) ~= ARGV[2] then
  return 0
end
return redis.call('PEXPIRE', KEYS[1], ARGV[1])
