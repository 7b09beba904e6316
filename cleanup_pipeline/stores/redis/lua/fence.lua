-- In front of every script that removes something. ARGV ends in the caller's lease: the key that holds it (empty: not
-- within reach of this script), its token, and the instant (epoch ms) at which it runs out (empty: there is no lease).
-- A cleaner that was paused and woke up ends here, by the server's clock, before anything is read.
local fence_until, fence_token, fence_key = table.remove(ARGV), table.remove(ARGV), table.remove(ARGV)
if fence_until ~= '' then
  -- Redis 6.2 with lua-replicate-commands off forbids a write after TIME; later servers always answer true.
  if redis.replicate_commands then redis.replicate_commands() end
  local clock = redis.call('TIME')
  local out = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000) >= tonumber(fence_until)
  if out or (fence_key ~= '' and redis.call('HEXISTS', fence_key, fence_token) == 0) then
    return redis.error_reply('LEASELOST the lease has run out or was taken away')
  end
end
