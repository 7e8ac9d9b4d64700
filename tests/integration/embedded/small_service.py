"""The least that the stack asks of a service: run by it, to see how it treats one."""

import os
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer


class Endpoints(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/readyz" else 404)
        self.end_headers()


if __name__ == "__main__":
    if os.environ["TOPIC_PREFIX"] == "wrong":
        sys.exit("the topics of 'wrong' are not there")
    HTTPServer((os.environ["HTTP_HOST"], int(os.environ["HTTP_PORT"])), Endpoints).serve_forever()
