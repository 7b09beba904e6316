-- option: 1 prefix of the pointer, 2 prefix of the record, 3 field that names the pointer (empty: the record only has
--         to be there), 4 expiry field, 5 unit,
--         6 this is the second look (1 | 0)
-- A login may write the pointer first and its record a moment later: what points nowhere is looked at twice.
-- The record is only ever read: deleting what a pointer names would log out whoever holds the newer pointer.
local function lost(detail)
  if option[6] == '1' then return 'dead', nil, detail end
  return 'unread'
end

local function judge(key)
  local record, long = read(key, SHORT)
  if long then return 'unknown', nil, long end
  if string.sub(key, 1, #option[1]) ~= option[1] then return 'unknown' end
  if not record or string.sub(record, 1, #option[2]) ~= option[2] then return 'unknown' end
  local kind = redis.call('TYPE', record).ok
  if kind == 'none' then return lost('dangling') end
  if option[3] == '' then return 'far' end
  if kind ~= 'hash' then return 'unknown' end
  local named, longer = read_field(record, option[3], SHORT)
  if longer then return 'unknown', nil, longer end
  if not named then return 'unknown' end
  if named ~= string.sub(key, #option[1] + 1) then return lost('superseded') end
  local text, longest = read_field(record, option[4], SHORT)
  if not text then return 'unknown', nil, longest end
  local state, death, detail = number(text, option[5])
  if state == 'never' then return 'unknown' end
  return state, death, detail
end
