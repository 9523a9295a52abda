-- Which web pages may call. A page's question is answered here; every other answer, whoever gives it, is marked for the page.
local sub, find = string.sub, string.find
local ANY, EXACTLY, UNDER = ANY_ORIGIN, {EXACT_ORIGINS}, {ORIGIN_PATTERNS}

local function allowed(origin)
  if ANY or EXACTLY[origin] then return true end
  for _, pattern in ipairs(UNDER) do
    local head, tail = pattern[1], pattern[2]
    if #origin > #head + #tail and sub(origin, 1, #head) == head and sub(origin, -#tail) == tail
      and find(sub(origin, #head + 1, -#tail - 1), "^[a-z0-9.-]+$") then
      return true
    end
  end
  return false
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local origin = headers:get("origin")
  if not origin or not allowed(origin) then return end
  handle:streamInfo():dynamicMetadata():set("tidegate.cors", "origin", ANY and "*" or origin)
  if headers:get(":method") == "OPTIONS" and headers:get("access-control-request-method") then
    handle:respond({
      [":status"] = "204",
      ["access-control-allow-methods"] = "GET, POST",
      ["access-control-allow-headers"] = "REQUEST_HEADERS",
      ["access-control-max-age"] = "MAX_AGE",
    }, "")
  end
end

function envoy_on_response(handle)
  local headers = handle:headers()
  if not ANY then headers:add("vary", "origin") end
  local found = handle:streamInfo():dynamicMetadata():get("tidegate.cors")
  if not found then return end
  headers:replace("access-control-allow-origin", found["origin"])
  headers:replace("access-control-expose-headers", "EXPOSED_HEADERS")
end
