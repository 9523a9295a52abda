-- The gateway's reader of bodies: who sends, what the body says that it is, whether it is JSON, and which model it names.
-- It reads as the worker does and refuses in the worker's words, and never repeats what a client wrote but a media type.
-- What fields mean is the worker's affair.
local byte, sub, find = string.byte, string.sub, string.find
local DEEPEST, LONGEST_ID = 127, 512
local KINDS = {[34] = "a string", [91] = "an array", [102] = "a boolean", [110] = "null", [116] = "a boolean", [123] = "an object"}
local ESCAPES = {[34] = true, [47] = true, [92] = true, [98] = true, [102] = true, [110] = true, [114] = true, [116] = true}

-- The four hex digits at i; nil when there are fewer.
local function hex4(s, i)
  return find(s, "^%x%x%x%x", i) and tonumber(sub(s, i, i + 3), 16)
end

-- Bytes of the UTF-8 character at i that begins with c, which is not ASCII; nil when it is none.
local function utf8(s, i, c)
  local second = byte(s, i + 1) or 0
  if c >= 0xC2 and c <= 0xDF then
    return second >= 0x80 and second <= 0xBF and 2 or nil
  end
  local low, high = 0x80, 0xBF
  if c == 0xE0 or c == 0xF0 then low = c == 0xE0 and 0xA0 or 0x90 end
  if c == 0xED or c == 0xF4 then high = c == 0xED and 0x9F or 0x8F end
  if c < 0xE0 or c > 0xF4 or second < low or second > high then return nil end
  local third = byte(s, i + 2) or 0
  if third < 0x80 or third > 0xBF then return nil end
  if c < 0xF0 then return 3 end
  local fourth = byte(s, i + 3) or 0
  return fourth >= 0x80 and fourth <= 0xBF and 4 or nil
end

-- Bytes of the escape at i; nil and why when it is none.
local function escape(s, i)
  local kind = byte(s, i + 1)
  if ESCAPES[kind] then return 2 end
  if kind ~= 117 then return nil, "an escape that JSON does not have" end
  local unit = hex4(s, i + 2)
  if not unit then return nil, "an escape without four hex digits" end
  if unit < 0xD800 or unit > 0xDFFF then return 6 end
  local low = unit < 0xDC00 and sub(s, i + 6, i + 7) == "\\u" and hex4(s, i + 8)
  if not low or low < 0xDC00 or low > 0xDFFF then return nil, "half of a surrogate pair" end
  return 12
end

-- Where the string ends whose first byte is at i; nil, why and where when it does not.
local function string_end(s, i)
  while true do
    local c = byte(s, i)
    if c == 34 then return i end
    if c == nil then return nil, "the body ends inside a string", i end
    local length, why = 1, nil
    if c == 92 then
      length, why = escape(s, i)
    elseif c < 32 then
      length, why = nil, "a control character that is not escaped"
    elseif c > 127 then
      length, why = utf8(s, i, c), "bytes that are not UTF-8"
    end
    if not length then return nil, why, i end
    i = i + length
  end
end

-- The first byte at i or behind that is no white space, and where it is. (Loops over bytes are compiled, patterns are not.)
local function skip(s, i)
  local c = byte(s, i)
  while c == 32 or c == 10 or c == 13 or c == 9 do
    i = i + 1
    c = byte(s, i)
  end
  return c, i
end

-- Behind the digits at i; nil when there is none.
local function digits_end(s, i)
  local first, c = i, byte(s, i)
  while c and c >= 48 and c <= 57 do
    i = i + 1
    c = byte(s, i)
  end
  return i > first and i or nil, c
end

-- Where the number at i ends; nil and why when it is none.
local function number_end(s, i)
  local first, exponent = i, false
  if byte(s, i) == 45 then i = i + 1 end
  local behind, c = digits_end(s, i)
  if not behind or (behind > i + 1 and byte(s, i) == 48) then return nil, "not a number" end
  if c == 46 then
    behind, c = digits_end(s, behind + 1)
    if not behind then return nil, "not a number" end
  end
  if c == 69 or c == 101 then
    local sign = byte(s, behind + 1)
    behind, exponent = digits_end(s, behind + ((sign == 43 or sign == 45) and 2 or 1)), true
    if not behind then return nil, "not a number" end
  end
  if exponent or behind - first > 300 then
    local text = sub(s, first, behind - 1)
    local value = tonumber(text)
    -- An exponent of very many digits is no number to Lua: out of range, unless it makes nothing or there is nothing.
    local huge = value and math.abs(value) == math.huge
      or not value and not find(text, "[eE]%-") and find(text, "^[^eE]*[1-9]")
    if huge then return nil, "a number out of range" end
  end
  return behind - 1
end

-- Where the value at i ends that is neither object nor array; nil, why and where when it is none.
local function scalar_end(s, i, c)
  if c == 34 then return string_end(s, i + 1) end
  local word = c == 116 and "true" or c == 102 and "false" or c == 110 and "null"
  if word and sub(s, i, i + #word - 1) == word then return i + #word - 1 end
  if c == 45 or (c and c >= 48 and c <= 57) then
    local last, why = number_end(s, i)
    return last, why, i
  end
  return nil, c and "a value was expected" or "the body ends too early", i
end

-- The text between the quotes at first and last, with every character that is not ASCII as bytes that stand in no model id.
local function plain(s, first, last)
  local text = sub(s, first + 1, last - 1)
  if not find(text, "\\", 1, true) then return text end
  local names = {b = "\b", f = "\f", n = "\n", r = "\r", t = "\t"}
  text = text:gsub("\\u[dD][89abAB]%x%x\\u%x%x%x%x", "\255\255\255\255")
  return (text:gsub("\\(.)(%x?%x?%x?%x?)", function(kind, digits)
    if kind ~= "u" then return (names[kind] or kind) .. digits end
    local unit = tonumber(digits, 16)
    if unit < 0x80 then return string.char(unit) end
    return unit < 0x800 and "\255\255" or "\255\255\255"
  end))
end

-- Reads the whole body. What it found of `model` ({first, last} of its value), and the first byte of the value that the body
-- is; or nil, why not and where.
local function read(s)
  if sub(s, 1, 3) == "\239\187\191" then return nil, "a byte order mark", 1 end
  local open, depth, i = {}, 0, 1
  local top, found, naming, expect = nil, nil, false, "value"
  while true do
    local c
    c, i = skip(s, i)
    if expect == "end" then
      if not c then return found or {}, top end
      return nil, "something follows the JSON", i
    elseif expect == "more" then
      if c == 44 then
        i, expect = i + 1, open[depth] == 123 and "key" or "value"
      elseif c == open[depth] + 2 then
        i, depth = i + 1, depth - 1
        expect = depth == 0 and "end" or "more"
      else
        return nil, c and "a comma or an end was expected" or "the body ends too early", i
      end
    elseif c == 125 and expect == "key or }" or c == 93 and expect == "value or ]" then
      i, depth = i + 1, depth - 1
      expect = depth == 0 and "end" or "more"
    elseif expect == "key" or expect == "key or }" then
      if c ~= 34 then return nil, c and "a key in double quotes was expected" or "the body ends too early", i end
      local last, why, at = string_end(s, i + 1)
      if not last then return nil, why, at end
      naming = depth == 1 and plain(s, i, last) == "model"
      if naming and found then return nil, "the key \\\"model\\\" stands twice", i end
      local is, colon = skip(s, last + 1)
      if is ~= 58 then return nil, is and "a colon was expected" or "the body ends too early", colon end
      i, expect = colon + 1, "value"
    else
      top = top or c
      local first = i
      if c == 123 or c == 91 then
        if depth == DEEPEST then return nil, "it nests deeper than " .. DEEPEST, i end
        depth = depth + 1
        open[depth] = c
        i, expect = i + 1, c == 123 and "key or }" or "value or ]"
      else
        local last, why, at = scalar_end(s, i, c)
        if not last then return nil, why, at end
        i, expect = last + 1, depth == 0 and "end" or "more"
      end
      if naming then found = {first, i - 1} end
      naming = false
    end
  end
end

-- The model that the body names; or nil, code, param and message.
local function model_of(s)
  local found, top, at = read(s)
  if not found or top ~= 123 then
    local why = found and "it is " .. (KINDS[top] or "a number") or top
    if not found then
      local before = sub(s, 1, at - 1)
      local _, lines = before:gsub("\n", "")
      why = why .. " at line " .. (lines + 1) .. " column " .. (at - (find(before, "\n[^\n]*$") or 0))
    end
    if s == "" then why = "it is empty" end
    return nil, "TG-2200", "null", "the body is not a JSON object that this API understands: " .. why
  end
  if not found[1] then return nil, "TG-2204", '"model"', '\\"model\\" is required' end
  local c = byte(s, found[1])
  if c ~= 34 then
    local fraction = not KINDS[c] and find(sub(s, found[1], found[2]), "[.eE]")
    local kind = KINDS[c] or (fraction and "a number" or "an integer")
    return nil, "TG-2203", '"model"', '\\"model\\" is not valid: must be a string, is ' .. kind
  end
  local model = plain(s, found[1], found[2])
  if #model > LONGEST_ID then
    return nil, "TG-2203", '"model"', '\\"model\\" is not valid: is longer than ' .. LONGEST_ID .. " bytes"
  end
  return find(model, "^[%w%.%-_/]+$") and model or "?"
end

-- Why a body with these headers is not read; nil when it is.
local function not_plain_json(kind, coding)
  local shown = function(text) return '\\"' .. sub(text, 1, 128):gsub('[^%w /;=+*.,_-]', "?") .. '\\"' end
  if not kind or kind == "" then return "there is no Content-Type" end
  if not find(kind:lower(), "^%s*application/json%s*$") and not find(kind:lower(), "^%s*application/json%s*;") then
    return "Content-Type is " .. shown(kind)
  end
  for name, value in kind:gmatch(";([^;=]*)=([^;]*)") do
    if find(name:lower(), "^%s*charset%s*$") then
      value = value:gsub('^[%s"]+', ""):gsub('[%s"]+$', "")
      if value:lower() ~= "utf-8" and value:lower() ~= "utf8" then
        return "its charset is " .. shown(value) .. ", and JSON is UTF-8"
      end
      break
    end
  end
  if coding and coding ~= "" and coding:lower() ~= "identity" then
    return "Content-Encoding is " .. shown(coding) .. ", and no content coding is read here"
  end
end

local function refuse(handle, status, code, param, message)
  local body = '{"error":{"message":"' .. message .. '","type":"invalid_request_error","param":' .. param
    .. ',"code":"' .. code .. '","tidegate_code":"' .. code .. '"}}'
  local headers = {[":status"] = status, ["content-type"] = "application/json"}
  if status == "415" then
    headers["accept"], headers["accept-encoding"] = "application/json", "identity"
  end
  handle:respond(headers, body)
end

function envoy_on_request(handle)
  local headers = handle:headers()
  if headers:get("AUTHORIZATION") then
    handle:respond({[":status"] = "401"}, "")
    return
  end
  local seen, twice = {}, nil
  for name, value in pairs(headers) do
    local first = seen[name]
    if first == nil then
      seen[name] = value
    elseif name ~= "cookie" then
      seen[name] = first .. "," .. value
      twice = twice or {}
      twice[name] = true
    end
  end
  for name in pairs(twice or {}) do
    headers:remove(name)
    headers:add(name, seen[name])
  end
  local path = (seen[":path"] or ""):match("^[^?#]*")
  if seen[":method"] == "POST" and (path == "/v1/chat/completions" or path == "/v1/embeddings") then
    local reason = not_plain_json(seen["content-type"], seen["content-encoding"])
    if reason then
      refuse(handle, "415", "TG-2213", "null", "the body is not read: " .. reason
        .. "; send Content-Type application/json, in UTF-8 and without Content-Encoding")
      return
    end
    local body = handle:body()
    local model, code, param, message = model_of(body and body:length() > 0 and body:getBytes(0, body:length()) or "")
    if not model then
      refuse(handle, "400", code, param, message)
      return
    end
    handle:headers():replace("HEADER", model)
  end
  handle:clearRouteCache()
end
