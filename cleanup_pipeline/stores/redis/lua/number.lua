-- An epoch written in digits, by string operations: doubles would lose the last digits of nanoseconds. The part below a
-- millisecond is cut off, which cannot make a record die early because the cutoff is a whole millisecond.
local function number(text, unit)
  -- What nearly every record holds, and few enough digits for a double.
  if unit ~= 'ns' and #text <= 15 and text ~= '' and not string.find(text, '%D') then
    local ms = tonumber(text)
    if unit == 's' then ms = ms * 1000 end
    return at(ms)
  end
  local sign, whole, fraction = string.match(text, '^(%-?)(%d+)$')
  if not whole then sign, whole, fraction = string.match(text, '^(%-?)(%d+)%.(%d+)$') end
  if not whole then return 'unknown' end
  fraction = fraction or ''
  if sign == '-' or not string.find(whole .. fraction, '[1-9]') then return 'never' end
  local ms = whole
  if unit == 's' then ms = whole .. string.sub(fraction .. '000', 1, 3) end
  if unit == 'ns' then ms = string.sub(whole, 1, -7) end
  ms = string.gsub(ms, '^0+', '')
  if #ms < 13 then return 'unknown', nil, 'implausible' end
  if #ms > 15 then return 'far', nil, 'after_2100' end
  return at(tonumber(ms))
end
