-- option: 1 unit
local function judge(key)
  local text = redis.call('GET', key)
  if not text then return 'never' end
  return number(text, option[1])
end
