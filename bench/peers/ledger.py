"""A WSGI application that writes a line to its ledger for each request that it executes."""
import os

ledger = os.open(os.environ["LEDGER"], os.O_CREAT | os.O_APPEND | os.O_WRONLY)


def app(environ, start_response):
    body = environ["wsgi.input"].read()
    if "HTTP_X_ID" in environ:
        os.write(ledger, environ["HTTP_X_ID"].encode() + b" " + body + b"\n")
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
