-- Remove members of one container whose keys are gone. KEYS: 1 the container, 2... the keys of each member in turn.
-- ARGV: 1 command that removes (SREM | HDEL | ZREM | LREM), 2 keys for each member (0: they are looked at elsewhere),
--       3 and 4 bounds of the score (empty: any), as ZCOUNT takes them, 5... the members.
-- Answers how many it removed.
if redis.replicate_commands then redis.replicate_commands() end

local command, each, low, high = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local KINDS = { SREM = 'set', HDEL = 'hash', ZREM = 'zset', LREM = 'list' }
if redis.call('TYPE', KEYS[1]).ok ~= KINDS[command] then return 0 end

-- Both are inclusive or, with a parenthesis in front, exclusive.
local function reader(bound)
  if bound == '' then return nil end
  local exclusive = string.sub(bound, 1, 1) == '('
  return tonumber(exclusive and string.sub(bound, 2) or bound), exclusive
end
local least, above = reader(low)
local most, below = reader(high)

local function in_bounds(member)
  if not least and not most then return true end
  local score = tonumber(redis.call('ZSCORE', KEYS[1], member) or 'nan')
  if not score or score ~= score then return false end
  if score < least or (above and score == least) then return false end
  return score < most or (not below and score == most)
end

local gone = {}
for i = 5, #ARGV do
  local first = 2 + (i - 5) * each
  local alive = not in_bounds(ARGV[i])
  for k = first, first + each - 1 do
    if alive then break end
    alive = redis.call('EXISTS', KEYS[k]) == 1
  end
  if not alive then gone[#gone + 1] = ARGV[i] end
end
if #gone == 0 then return 0 end
if command == 'LREM' then
  -- One for each time that it was read, from the end, where it was.
  local removed = 0
  for _, member in ipairs(gone) do removed = removed + redis.call('LREM', KEYS[1], -1, member) end
  return removed
end
return redis.call(command, KEYS[1], unpack(gone))
