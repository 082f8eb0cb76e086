# A Rack application that writes a line to its ledger for each request that it executes.
ledger = File.open(ENV.fetch("LEDGER"), File::WRONLY | File::APPEND | File::CREAT)
ledger.sync = true
run lambda { |env|
  body = env["rack.input"].read
  ledger.syswrite("#{env["HTTP_X_ID"]} #{body}\n") if env["HTTP_X_ID"]
  [200, { "content-length" => "2" }, ["ok"]]
}
