local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
-- Only newer servers (Valkey 9, not Redis 7.0) have os; elsewhere the number of keys is the only bound.
local library = rawget(_G, 'os')
local elapsed = library and library.clock or function() return 0 end
local started = elapsed()

local done, scanned, expired, deleted, repaired, oldest = 0, 0, 0, 0, 0, -1
local counts = { live = 0, never = 0, unknown = 0 }
local details, dead, unread = {}, {}, {}
-- What is told: words, the size of each, and when each key died (-1: at no time of its own).
local told, sizes, deaths = {}, {}, {}
-- Looked up before anything goes: a server that lacks it is to fail here.
local pack = mode ~= 'look' and mode ~= 'delete' and struct.pack
-- Of planted keys: how many are dead, and those among them that go though the others are kept.
local planted, outright = 0, {}

local candidates, following, typed = KEYS, '', false
if walk ~= '' then
  local page = redis.call('SCAN', walk, 'MATCH', pattern, 'COUNT', count, 'TYPE', key_type)
  following, candidates, typed = page[1], page[2], true
end

local function packed(one, several)
  return #several > 0 and pack('>' .. string.rep(one, #several), unpack(several)) or ''
end

local function note(detail) details[detail] = (details[detail] or 0) + 1 end

-- The latest ends, the latest first; what is after 2100 is no instant that anybody means.
local newest = {}
local function latest(death)
  if death >= 4102444800000 or (#newest >= 10 and death <= newest[#newest]) then return end
  local at = #newest + 1
  while at > 1 and newest[at - 1] < death do at = at - 1 end
  table.insert(newest, at, death)
  newest[11] = nil
end

-- A double has no more than 53 bits: the digits of a larger number are only in the text. They are taken where nothing else
-- can be meant: one place of that name, which is not written with escapes. A wrong owner is worse than none.
local function digits_of(text, name, value)
  if string.find(name, '[^%w_-]') or string.find(text, '\\u00[2-7]') then return '' end
  local found
  for word in string.gmatch(text, '"' .. string.gsub(name, '-', '%%-') .. '"%s*:%s*([^%s,}]*)') do
    if found then return '' end
    found = word
  end
  return found and string.find(found, '^-?[1-9]%d*$') and tonumber(found) == value and found or ''
end

local function owner_of(key)
  if owner == '' then return '' end
  if whose then return whose end
  if key_type == 'hash' then return read_field(key, owner, SHORT) or '' end
  local text, name = read(key, LONGEST) or '', nil
  local ok, value = pcall(cjson.decode, text)
  if not ok then return '' end
  for part in string.gmatch(owner, '[^.]+') do
    value, name = type(value) == 'table' and value[part] or nil, part
  end
  if type(value) == 'string' then return value end
  if type(value) ~= 'number' then return '' end
  if not (math.abs(value) < 9007199254740992) then return digits_of(text, name, value) end
  -- Adding 0 takes the sign from a zero.
  if value % 1 == 0 then return string.format('%.0f', value + 0) end
  local short = string.format('%.15g', value)
  return tonumber(short) == value and short or string.format('%.17g', value)
end

-- Name and death are copied before anything goes; `keep` has the whole key with its TTL besides.
local function tell(key, death)
  if mode == 'delete' then return end
  local at, whom = #told, owner_of(key)
  told[at + 1], told[at + 2], sizes[at + 1], sizes[at + 2] = key, whom, #key, #whom
  deaths[#deaths + 1] = death or -1
  if mode == 'keep' then
    local pttl = redis.call('PTTL', key)
    local dump = redis.call('DUMP', key) or ''
    taken = taken + #dump
    local ends = pttl < 0 and '' or string.format('%.0f', now + pttl)
    told[at + 3], told[at + 4], sizes[at + 3], sizes[at + 4] = ends, dump, #ends, #dump
  end
end

local function too_large(key)
  if key_type == 'hash' then return redis.call('HLEN', key) > MOST_FIELDS end
  return key_type == 'string' and redis.call('STRLEN', key) > LONGEST
end

local function bury(key, death, hidden)
  -- What cannot be read whole cannot be kept, and so it stays.
  if mode == 'keep' and not hidden and too_large(key) then
    counts.unknown = counts.unknown + 1
    return note('too_large')
  end
  expired = expired + 1
  if death then latest(death) end
  if death and (oldest < 0 or death < oldest) then oldest = death end
  if mode ~= 'look' then
    dead[#dead + 1] = key
    if not hidden then tell(key, death)
    elseif mode == 'keep' then outright[#outright + 1] = key end
  elseif redis.call('PTTL', key) < 0 then
    note('expired_without_ttl')
  end
end

local function keep(key, death)
  counts.live = counts.live + 1
  if not death then return end
  latest(death)
  local pttl = redis.call('PTTL', key)
  if pttl >= 0 then
    -- A second of tolerance: most writers cut the expiry to whole seconds.
    if now + pttl < death - 1000 then note('ttl_shorter_than_value') end
    return
  end
  note('live_without_ttl')
  -- An instant in the past would make PEXPIREAT a deletion.
  if mode ~= 'look' and grace and death + grace > now then
    repaired = repaired + redis.call('PEXPIREAT', key, string.format('%.0f', death + grace))
  end
end

local tells = (mode == 'tell' or mode == 'keep') and owner ~= '' and key_type == 'hash'
for i, key in ipairs(candidates) do
  if i > most or #dead + #unread >= limit or taken > MOST_READ or (i % 8 == 0 and elapsed() - started > budget) then
    break
  end
  done = i
  local kind = typed and key_type or redis.call('TYPE', key).ok
  if kind == key_type then
    -- What was planted meets the same fate as any other key, and counts nowhere.
    local saved, buried = nil, #dead
    if mark ~= '' and string.find(key, mark, 1, true) then
      saved = { scanned, expired, repaired, oldest, counts, details }
      counts, details = { live = 0, never = 0, unknown = 0 }, {}
    end
    scanned = scanned + 1
    along, whose = tells and #dead * 2 >= i, nil
    local state, death, detail = judge(key)
    local past = state == 'dead' or (state == 'at' and death < cutoff)
    if past and ttl_wins and redis.call('PTTL', key) >= 0 then past, death, detail = false, nil, 'ttl_later_than_value' end
    -- What died before the window, and what has no instant at all, is no business of it.
    local earlier = since and (state == 'dead' or (state == 'at' and death and death < since))
    if detail and not earlier then note(detail) end
    if earlier then
      scanned = scanned - 1
    elseif state == 'foreign' then
      scanned = scanned - 1
      note('of_another_application')
    elseif state == 'unread' then
      unread[#unread + 1] = key
    elseif past then bury(key, death, saved ~= nil)
    elseif counts[state] then counts[state] = counts[state] + 1
    else keep(key, death) end
    if saved then
      scanned, expired, repaired, oldest, counts, details = unpack(saved)
      planted = planted + #dead - buried
    end
  elseif kind ~= 'none' then
    note('other_type')
  end
end
if mode == 'keep' then
  if #outright > 0 then redis.call('UNLINK', unpack(outright)) end
elseif #dead > 0 then
  deleted = redis.call('UNLINK', unpack(dead)) - planted
end

local rest = {}
if typed then
  for i = done + 1, #candidates do rest[#rest + 1] = candidates[i] end
end
for i, death in ipairs(newest) do newest[i] = string.format('%.0f', death) end
local answer = { done, scanned, expired, deleted, counts.live, counts.never, counts.unknown, repaired, oldest }
-- A client takes longer to read a thousand strings than this takes to make one of them.
answer[10], answer[11], answer[12], answer[13] = following, rest, unread, newest
answer[14] = { packed('I4', sizes), table.concat(told), packed('d', deaths) }
for detail, n in pairs(details) do
  answer[#answer + 1] = detail
  answer[#answer + 1] = n
end
return answer
