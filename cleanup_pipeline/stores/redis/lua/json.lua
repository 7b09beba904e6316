-- A decoder of our own, so that "strict" is not switched on for every other script of the server as well: cjson takes
-- NaN, Infinity and hexadecimal by default.
local json = cjson
if cjson.new then
  json = cjson.new()
  json.decode_invalid_numbers(false)
end

local function decode(text)
  local ok, document = pcall(json.decode, text)
  if ok then return document end
  return nil
end

-- Rounded, not cut off: 1700000000.001 * 1000 is a little less than 1700000000001 in doubles.
local function json_number(value, unit)
  if value ~= value then return 'unknown' end
  local ms = value
  if unit == 's' then ms = value * 1000 end
  if unit == 'ns' then ms = value / 1000000 end
  if ms <= 0 then return 'never' end
  if ms >= LAST then return 'far', nil, 'after_2100' end
  return at(math.floor(ms + 0.5))
end
