-- option: 1 field, 2 unit, then the fields without which a hash is another application's
local function judge(key)
  for i = 3, #option do
    if redis.call('HEXISTS', key, option[i]) == 0 then return 'foreign' end
  end
  local text, long = read_field(key, option[1], SHORT)
  if long then return 'unknown', nil, long end
  if not text then return 'never' end
  return number(text, option[2])
end
