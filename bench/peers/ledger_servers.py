"""Servers of Python that write a line to a ledger for each request that they execute.

    python3 ledger_servers.py SERVER PORT LEDGER
"""
import os
import sys

server, port, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
ledger = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
IDLE = 0.02  # seconds, where it can be less than one


def execute(id, body):
    if id:
        os.write(ledger, id.encode() + b" " + body + b"\n")


def wsgi(environ, start_response):
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    execute(environ.get("HTTP_X_ID"), body)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


async def asgi(scope, receive, send):
    body, more = b"", True
    while more:
        m = await receive()
        if m["type"] != "http.request":
            return
        body, more = body + m.get("body", b""), m.get("more_body", False)
    execute(dict(scope["headers"]).get(b"x-id", b"").decode(), body)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def run_http_server():
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = IDLE
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            execute(self.headers.get("X-Id"), body)
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *args):
            pass

    ThreadingHTTPServer.request_queue_size = 1024
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


def run_uvicorn():
    import uvicorn

    uvicorn.run(asgi, host="127.0.0.1", port=port, timeout_keep_alive=1, access_log=False, log_level="warning", lifespan="off")


def run_aiohttp():
    from aiohttp import web

    async def handle(request):
        body = await request.read()
        execute(request.headers.get("X-Id"), body)
        return web.Response(text="ok")

    app = web.Application()
    app.router.add_post("/", handle)
    web.run_app(app, host="127.0.0.1", port=port, keepalive_timeout=IDLE, print=None, access_log=None)


def run_waitress():
    import waitress

    waitress.serve(wsgi, host="127.0.0.1", port=port, channel_timeout=1, cleanup_interval=1, connection_limit=2000, asyncore_use_poll=True, _quiet=True)


def run_tornado():
    import asyncio

    import tornado.httpserver
    import tornado.web

    class Handler(tornado.web.RequestHandler):
        def post(self):
            execute(self.request.headers.get("X-Id"), self.request.body)
            self.write("ok")

    async def main():
        app = tornado.web.Application([("/", Handler)], log_function=lambda h: None)
        tornado.httpserver.HTTPServer(app, idle_connection_timeout=IDLE).listen(port, "127.0.0.1")
        await asyncio.Event().wait()

    asyncio.run(main())


def run_twisted():
    from twisted.internet import reactor
    from twisted.web import resource, server as web

    class Root(resource.Resource):
        isLeaf = True

        def render_POST(self, request):
            execute(request.getHeader("x-id"), request.content.read())
            return b"ok"

    reactor.listenTCP(port, web.Site(Root(), timeout=IDLE), interface="127.0.0.1")
    reactor.run()


{
    "http.server": run_http_server,
    "uvicorn": run_uvicorn,
    "aiohttp": run_aiohttp,
    "waitress": run_waitress,
    "tornado": run_tornado,
    "twisted": run_twisted,
}[server]()
