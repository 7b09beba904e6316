-- Write keys again that were kept. KEYS: the keys. ARGV: 1 look | write, then for each key the instant (epoch ms) at which
-- it ends by its TTL (0: it has none), and its DUMP.
-- Answers a word for each: restored, exists, over (its TTL ran out meanwhile), and where it is refused:
-- version (not a dump of this server), memory (there is none left), other.
if redis.replicate_commands then redis.replicate_commands() end

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local fates = {}
for i, key in ipairs(KEYS) do
  local ends = tonumber(ARGV[2 * i])
  if redis.call('EXISTS', key) == 1 then
    fates[i] = 'exists'
  elseif ends > 0 and ends <= now then
    fates[i] = 'over'
  elseif ARGV[1] == 'look' then
    fates[i] = 'restored'
  else
    local answer = redis.pcall('RESTORE', key, ARGV[2 * i], ARGV[2 * i + 1], 'ABSTTL')
    local fault = type(answer) == 'table' and answer.err
    fates[i] = 'restored'
    -- The text itself is not answered: of some faults it names the key.
    if fault then
      local damaged = string.find(fault, 'DUMP payload', 1, true) or string.find(fault, 'Bad data format', 1, true)
      fates[i] = damaged and 'version' or string.find(fault, '^-?OOM') and 'memory' or 'other'
    end
  end
end
return fates
