local function judge(_, pttl)
  if pttl < 0 then return 'never' end
  return 'far'
end
