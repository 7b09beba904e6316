-- In place of loop.lua: what each of KEYS is and when it dies, judged as loop.lua judges it. Changes nothing.
-- Answers two words a key, up to where its time was over: a state (empty: none of the target's), and epoch ms or -1.
local library = rawget(_G, 'os')
local elapsed = library and library.clock or function() return 0 end
local started = elapsed()
local named = {}
for i, key in ipairs(KEYS) do
  if i > 1 and (taken > MOST_READ or elapsed() - started > budget) then break end
  local said, at_ms = '', -1
  if redis.call('TYPE', key).ok == key_type then
    local state, death = judge(key)
    local past = state == 'dead' or (state == 'at' and death < cutoff)
    if past and ttl_wins and redis.call('PTTL', key) >= 0 then past, death = false, nil end
    local earlier = since and (state == 'dead' or (state == 'at' and death and death < since))
    if earlier or state == 'foreign' then said = ''
    elseif state == 'unread' then said = 'unread'
    elseif past then said = 'expired'
    elseif state == 'never' then said = 'without_expiry'
    elseif state == 'unknown' then said = 'unparsable'
    else said = 'live' end
    if state == 'at' and death then at_ms = death end
  end
  named[#named + 1] = said
  named[#named + 1] = string.format('%.0f', at_ms)
end
return named
