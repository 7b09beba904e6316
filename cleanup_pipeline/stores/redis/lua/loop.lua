local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
-- Only newer servers (Valkey 9, not Redis 7.0) have os; elsewhere the number of keys is the only bound.
local library = rawget(_G, 'os')
local elapsed = library and library.clock or function() return 0 end
local started = elapsed()

local done, scanned, expired, deleted, repaired, oldest = 0, 0, 0, 0, 0, -1
local counts = { live = 0, never = 0, unknown = 0 }
local details = {}

local function note(detail) details[detail] = (details[detail] or 0) + 1 end

local function bury(key, death, pttl)
  expired = expired + 1
  if death and (oldest < 0 or death < oldest) then oldest = death end
  if pttl < 0 then note('expired_without_ttl') end
  if mode == 'delete' then deleted = deleted + redis.call('UNLINK', key) end
end

local function keep(key, death, pttl)
  counts.live = counts.live + 1
  if not death then return end
  if pttl >= 0 then
    -- A second of tolerance: most writers cut the expiry to whole seconds.
    if now + pttl < death - 1000 then note('ttl_shorter_than_value') end
    return
  end
  note('live_without_ttl')
  -- An instant in the past would make PEXPIREAT a deletion.
  if mode == 'delete' and death + grace > now then
    repaired = repaired + redis.call('PEXPIREAT', key, string.format('%.0f', death + grace))
  end
end

for i, key in ipairs(KEYS) do
  if deleted >= limit or (i % 8 == 0 and elapsed() - started > budget) then break end
  done = i
  local kind = redis.call('TYPE', key).ok
  if kind == key_type then
    scanned = scanned + 1
    local pttl = redis.call('PTTL', key)
    local state, death, detail = judge(key, pttl)
    local past = state == 'dead' or (state == 'at' and death < cutoff)
    if past and ttl_wins and pttl >= 0 then past, death, detail = false, nil, 'ttl_later_than_value' end
    if detail then note(detail) end
    if state == 'foreign' then
      scanned = scanned - 1
      note('of_another_application')
    elseif past then bury(key, death, pttl)
    elseif counts[state] then counts[state] = counts[state] + 1
    else keep(key, death, pttl) end
  elseif kind ~= 'none' then
    note('other_type')
  end
end

local answer = { done, scanned, expired, deleted, counts.live, counts.never, counts.unknown, repaired, oldest }
for detail, n in pairs(details) do
  answer[#answer + 1] = detail
  answer[#answer + 1] = n
end
return answer
