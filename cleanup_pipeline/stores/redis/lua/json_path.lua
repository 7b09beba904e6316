-- option: 1 unit, or `iso`; 2... the path
local function judge(key)
  local text, long = read(key, LONGEST)
  if long then return 'unknown', nil, long end
  local node = decode(text or '')
  if node == nil then return 'unknown' end
  for i = 2, #option do
    if type(node) ~= 'table' then return 'unknown' end
    node = node[option[i]]
    if node == nil or node == json.null then return 'never' end
  end
  if option[1] == 'iso' then
    if type(node) ~= 'string' then return 'unknown' end
    return instant(node)
  end
  if type(node) == 'number' then return json_number(node, option[1]) end
  if type(node) == 'string' then return number(node, option[1]) end
  return 'unknown'
end
