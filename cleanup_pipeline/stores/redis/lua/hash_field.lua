-- option: 1 field, 2 unit
local function judge(key)
  local text = redis.call('HGET', key, option[1])
  if not text then return 'never' end
  return number(text, option[2])
end
