"""A WSGI application for uWSGI, which takes the body by its length, that writes a line to its ledger."""
import os

ledger = os.open(os.environ["LEDGER"], os.O_CREAT | os.O_APPEND | os.O_WRONLY)


def application(environ, start_response):
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    if "HTTP_X_ID" in environ:
        os.write(ledger, environ["HTTP_X_ID"].encode() + b" " + body + b"\n")
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
