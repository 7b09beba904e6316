-- RFC 4648 section 5, without padding, as a JWT writes it (RFC 7515, section 2).
local SIXBITS = {}
for i = 1, 64 do
  SIXBITS[string.byte('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_', i)] = i - 1
end

local function base64url(text)
  if #text % 4 == 1 or string.find(text, '[^%w_%-]') then return nil end
  local byte, char, out, n = string.byte, string.char, {}, 0
  for i = 1, #text, 4 do
    local a, b, c, d = byte(text, i, i + 3)
    a, b, c, d = SIXBITS[a], SIXBITS[b], SIXBITS[c or 65], SIXBITS[d or 65]
    n = n + 1
    out[n] = char(a * 4 + (b - b % 16) / 16, b % 16 * 16 + (c - c % 4) / 4, c % 4 * 64 + d)
  end
  return string.sub(table.concat(out), 1, math.floor(#text * 3 / 4))
end
