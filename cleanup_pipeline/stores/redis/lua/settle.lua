-- What a client concluded from values that it read. Nothing happens to a key whose value is another one by now.
-- KEYS: the keys. ARGV: 1 leave keys that have a TTL (1 | 0), then for each key: the value that was read, and what to do:
-- `dead`, or the instant (epoch ms) at which a key without TTL is to end.
-- Answers how many it removed, and how many got a TTL.
if redis.replicate_commands then redis.replicate_commands() end

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local removed, repaired = 0, 0
for i, key in ipairs(KEYS) do
  local value, verdict = ARGV[2 * i], ARGV[2 * i + 1]
  local same = redis.call('TYPE', key).ok == 'string' and redis.call('STRLEN', key) == #value
    and redis.call('GET', key) == value
  local without = redis.call('PTTL', key) < 0
  if same and verdict == 'dead' then
    if without or ARGV[1] ~= '1' then removed = removed + redis.call('UNLINK', key) end
  -- An instant in the past would make PEXPIREAT a deletion.
  elseif same and without and tonumber(verdict) > now then
    repaired = repaired + redis.call('PEXPIREAT', key, verdict)
  end
end
return { removed, repaired }
