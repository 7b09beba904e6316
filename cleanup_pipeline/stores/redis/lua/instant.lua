-- ISO 8601, the complete form with seconds and a zone (RFC 3339). Without a zone nobody knows whose clock it was.
local DAYS = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 }

local function days_in(year, month)
  if month == 2 and year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0) then return 29 end
  return DAYS[month]
end

-- Days since 1970-01-01 in the proleptic Gregorian calendar, counted in years that begin in March.
local function days_since_epoch(year, month, day)
  if month <= 2 then year = year - 1 end
  local era = math.floor(year / 400)
  local of_era = year - era * 400
  local of_year = math.floor((153 * ((month + 9) % 12) + 2) / 5) + day - 1
  return era * 146097 + of_era * 365 + math.floor(of_era / 4) - math.floor(of_era / 100) + of_year - 719468
end

local function offset_ms(zone)
  if zone == 'Z' then return 0 end
  local sign, hours, minutes = string.match(zone, '^([+-])(%d%d):?(%d%d)$')
  if not sign or tonumber(hours) > 23 or tonumber(minutes) > 59 then return nil end
  local ms = (tonumber(hours) * 60 + tonumber(minutes)) * 60000
  if sign == '-' then return -ms end
  return ms
end

local function instant(text)
  local year, month, day, hour, minute, second, rest =
    string.match(text, '^(%d%d%d%d)%-(%d%d)%-(%d%d)[T ](%d%d):(%d%d):(%d%d)(.+)$')
  if not year then return 'unknown' end
  local fraction, zone = string.match(rest, '^%.(%d+)(.+)$')
  local offset = offset_ms(zone or rest)
  year, month, day = tonumber(year), tonumber(month), tonumber(day)
  hour, minute, second = tonumber(hour), tonumber(minute), tonumber(second)
  if not offset or month < 1 or month > 12 or day < 1 or day > days_in(year, month) then return 'unknown' end
  if hour > 23 or minute > 59 or second > 60 then return 'unknown' end
  local seconds = days_since_epoch(year, month, day) * 86400 + hour * 3600 + minute * 60 + second
  return at(seconds * 1000 + tonumber(string.sub((fraction or '') .. '000', 1, 3)) - offset)
end
