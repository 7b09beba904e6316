-- option: 1 unit, or `iso`; 2... the path
-- A number at the path is judged here. Whatever else there is, the client reads: timestamps, text, and everything on a
-- server without cmsgpack.
local library = rawget(_G, 'cmsgpack')

-- By their number, not by #: a nil at the end would not count.
local function only(ok, ...)
  return ok and select('#', ...) == 1, (...)
end

local function judge(key)
  if redis.call('STRLEN', key) > LONGEST then return 'unknown', nil, 'too_large' end
  if not library or option[1] == 'iso' or option[1] == 'ns' then return 'unread' end
  local one, node = only(pcall(library.unpack, read(key, LONGEST) or ''))
  if not one then return 'unread' end
  for i = 2, #option do
    if type(node) ~= 'table' then return 'unread' end
    node = node[option[i]]
  end
  if type(node) ~= 'number' then return 'unread' end
  return json_number(node, option[1])
end
