-- Coroutines, tables, strings, files, a process at the other end of a pipe.
local n = 0
local function same(what, found, expected)
    if found == expected then n = n + 1 else print("FAILED " .. what .. ": " .. tostring(found)) end
end

local squares = coroutine.wrap(function() for i = 1, 100 do coroutine.yield(i * i) end end)
local sum = 0
for i = 1, 100 do sum = sum + squares() end
same("coroutine", sum, 338350)

local words = {}
for word in ("the quick brown fox"):gmatch("%a+") do words[#words + 1] = word end
table.sort(words)
same("sort", table.concat(words, " "), "brown fox quick the")

local file = assert(io.open("/data/lua", "w"))
for i = 1, 1000 do file:write(i, "\n") end
file:close()
local last
for line in io.lines("/data/lua") do last = line end
same("lines", last, "1000")
same("rename", os.rename("/data/lua", "/data/moved"), true)
same("remove", os.remove("/data/moved"), true)

local pipe = assert(io.popen("echo out of a shell"))
same("popen", pipe:read("l"), "out of a shell")
pipe:close()
same("execute", select(3, os.execute("exit 3")), 3)
same("tmpname", type(os.tmpname()), "string")
same("error", select(2, pcall(error, "caught")), "caught")
collectgarbage()
same("date", os.date("!%Y", 0), "1970")
print("done " .. n)
