# Python's ForkingTCPServer: the parent closes what it has accepted as soon as a child has it.

import socket
import socketserver
import sys
import threading


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line.upper())


server = socketserver.ForkingTCPServer(("127.0.0.1", 0), Handler)
serving = threading.Thread(target=server.serve_forever)
serving.start()
answers = []
for number in range(20):
    with socket.create_connection(server.server_address) as client:
        client.sendall(b"number %d\n" % number)
        client.shutdown(socket.SHUT_WR)
        answers.append(b"".join(iter(lambda: client.recv(100), b"")).decode())
server.shutdown()
server.server_close()
serving.join()
print(answers[-1], end="")
sys.exit(7 if len(answers) == 20 else 1)
