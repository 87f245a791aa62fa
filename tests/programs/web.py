# Python's http.server with threads, and four threads of clients in the same process.

import http.server
import sys
import threading
import urllib.request


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def do_GET(self):
        body = bytes(20_000)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(http.server.ThreadingHTTPServer):
    # Its threads are waited for: those that have not closed their socket yet would have it closed by the end of the process.
    daemon_threads = False


def get():
    for _ in range(3):
        with urllib.request.urlopen("http://127.0.0.1:%d/" % server.server_port) as answer:
            answers.append(len(answer.read()))


answers = []
server = Server(("127.0.0.1", 0), Handler)
serving = threading.Thread(target=server.serve_forever)
serving.start()
clients = [threading.Thread(target=get) for _ in range(4)]
[client.start() for client in clients]
[client.join() for client in clients]
server.shutdown()
server.server_close()
serving.join()
print(sum(answers))
sys.exit(7)
