-- Read keys that a client judges, all at one moment: value, the instant (epoch ms) at which a key ends by its TTL (empty: it
-- has none), and its DUMP. Nothing for a key that is gone or no string. ARGV: 1 the longest value that is read whole; of a
-- longer one only the beginning is answered, one byte longer than that.
if redis.replicate_commands then redis.replicate_commands() end

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local read = {}
for i, key in ipairs(KEYS) do
  read[i] = {}
  if redis.call('TYPE', key).ok == 'string' then
    local pttl = redis.call('PTTL', key)
    if redis.call('STRLEN', key) > tonumber(ARGV[1]) then
      read[i] = { redis.call('GETRANGE', key, 0, ARGV[1]), '', '' }
    else
      read[i] = { redis.call('GET', key), pttl < 0 and '' or string.format('%.0f', now + pttl), redis.call('DUMP', key) }
    end
  end
end
return read
