-- What wrk asks for, by environment variables, and one line of JSON about the answers.
--   BENCH_PATHS=FILE    the paths in FILE, one after the other, from a random place on
--   BENCH_FRESH=PREFIX  PREFIX1@v1.0.0, PREFIX2@v1.0.0, …: each path once
-- With neither, the one path of the URL. wrk looks for request() when it loads this file, before init() runs.

local paths_file, fresh = os.getenv("BENCH_PATHS"), os.getenv("BENCH_FRESH")

if paths_file then
  local requests, at = {}, 0

  function init(_)
    for path in io.lines(paths_file) do
      requests[#requests + 1] = wrk.format("GET", path)
    end
    math.randomseed(tonumber(os.getenv("BENCH_SEED")) or 1)
    at = math.random(#requests)
  end

  function request()
    at = at % #requests + 1
    return requests[at]
  end
elseif fresh then
  local number = 0

  function request()
    number = number + 1
    return wrk.format("GET", fresh .. number .. "@v1.0.0")
  end
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"seconds":%.6f,"bytes":%.0f,"p50_ms":%.4f,"p99_ms":%.4f,"refused":%d,"broken":%d}\n',
    summary.requests, summary.duration / 1e6, summary.bytes, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout
  ))
end
