-- Remove keys that were kept, if they are still what was kept: the same value with the same TTL, of which the expiry is
-- made, so that the verdict is the same. KEYS: the keys. ARGV: 1 SHA-1 of each key's DUMP, 40 characters each, 2 the instant
-- (epoch ms) at which each ends by its TTL (-: it has none), with blanks between them.
-- Answers the numbers of those that it removed.
if redis.replicate_commands then redis.replicate_commands() end

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local gone, numbers = {}, {}
local next_end = string.gmatch(ARGV[2], '%S+')
for i, key in ipairs(KEYS) do
  local ends, pttl = tonumber(next_end()), redis.call('PTTL', key)
  -- TIME and PTTL are read at slightly different moments where the server does not stop the clock for a script.
  local same = (not ends and pttl == -1) or (ends and pttl >= 0 and math.abs(now + pttl - ends) <= 5)
  local dump = same and redis.call('DUMP', key)
  if dump and redis.sha1hex(dump) == string.sub(ARGV[1], 40 * i - 39, 40 * i) then
    gone[#gone + 1] = key
    numbers[#numbers + 1] = i
  end
end
if #gone > 0 then redis.call('UNLINK', unpack(gone)) end
return numbers
