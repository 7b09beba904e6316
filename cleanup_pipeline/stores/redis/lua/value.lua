-- option: 1 unit
local function judge(key)
  local text, long = read(key, SHORT)
  if long then return 'unknown', nil, long end
  if not text then return 'never' end
  return number(text, option[1])
end
