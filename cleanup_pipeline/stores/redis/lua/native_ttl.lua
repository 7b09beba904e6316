local function judge(key)
  if redis.call('PTTL', key) < 0 then return 'never' end
  return 'far'
end
