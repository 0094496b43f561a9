-- wrk's side of a round: posts the file that BODY names, or gets if it names none, with the key KEY, and at the end prints
-- what was measured as one line of JSON.
local name = os.getenv("BODY")
if name then
  local file = assert(io.open(name, "rb"))
  wrk.method = "POST"
  wrk.body = file:read("*a")
  wrk.headers["Content-Type"] = "application/json"
  file:close()
end

local key = os.getenv("KEY")
if key then
  wrk.headers["Authorization"] = "Bearer " .. key
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d,"refused":%d,"broken":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.status, e.connect + e.read + e.write + e.timeout))
end
