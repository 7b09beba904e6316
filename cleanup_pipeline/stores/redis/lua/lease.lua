-- The lease of one target. KEYS: 1 a hash with a field for each holder, by its token.
-- ARGV: 1 acquire | renew | release | free | holders, 2 token, 3 how long (ms), 4 run, 5 window, 6 host.
-- A holder is "until since run window host", the first two in epoch ms.
-- Answers { until } when it is held now, { 0, the holder that is in the way } when it cannot be had, { -1 } when it was
-- lost; holders: all of them; release, free: { how many }.
if redis.replicate_commands then redis.replicate_commands() end
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local what, token = ARGV[1], ARGV[2]

local held, last = {}, 0
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local till = tonumber(string.match(all[i + 1], '^%d+'))
  if not till or till <= now then
    redis.call('HDEL', KEYS[1], all[i])
  else
    held[all[i]] = all[i + 1]
    if till > last then last = till end
  end
end

if what == 'holders' then
  local values = {}
  for _, value in pairs(held) do values[#values + 1] = value end
  return values
end
if what == 'free' then
  local count = 0
  for _ in pairs(held) do count = count + 1 end
  redis.call('DEL', KEYS[1])
  return { count }
end
if what == 'release' then return { redis.call('HDEL', KEYS[1], token) } end
if what == 'renew' and not held[token] then return { -1 } end

local run, window = ARGV[4], ARGV[5]
for other, value in pairs(held) do
  local its_run, its_window = string.match(value, '^%d+ %d+ (%S*) (%S*) ')
  if other ~= token and its_run ~= run and (window == '' or its_window == '' or its_window == window) then
    return { 0, value }
  end
end
local since = held[token] and string.match(held[token], '^%d+ (%d+)') or string.format('%.0f', now)
local till = now + tonumber(ARGV[3])
redis.call('HSET', KEYS[1], token, string.format('%.0f %s %s %s %s', till, since, run, window, ARGV[6]))
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', math.max(till, last)))
return { till }
