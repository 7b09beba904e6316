-- option: 1 prefix
local function judge(key)
  if #key > 4 * SHORT then return 'unknown', nil, 'too_large' end
  if string.sub(key, 1, #option[1]) ~= option[1] then return 'unknown' end
  local payload = string.match(string.sub(key, #option[1] + 1), '^[%w_%-]+%.([%w_%-]+)%.[%w_%-]*$')
  local claims = payload and decode(base64url(payload) or '')
  if type(claims) ~= 'table' then return 'unknown' end
  if claims.exp == nil or claims.exp == json.null then return 'never' end
  if type(claims.exp) ~= 'number' then return 'unknown' end
  return json_number(claims.exp, 's')
end
