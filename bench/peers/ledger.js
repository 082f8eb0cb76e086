// An HTTP server of Node that writes a line to its ledger for each request that
// it executes: node ledger.js PORT LEDGER KEEPALIVE_MS
const http = require('http');
const fs = require('fs');
const [port, path, keepAlive] = process.argv.slice(2);
const ledger = fs.openSync(path, 'a');
const server = http.createServer((req, res) => {
  const body = [];
  req.on('data', (d) => body.push(d));
  req.on('end', () => {
    if (req.headers['x-id']) fs.writeSync(ledger, req.headers['x-id'] + ' ' + Buffer.concat(body) + '\n');
    res.end('ok');
  });
});
server.keepAliveTimeout = Number(keepAlive);
server.listen(Number(port), '127.0.0.1');
