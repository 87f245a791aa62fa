// Node's HTTP server and client in one process: twenty requests with a body each, over four connections that are kept.

const http = require("http");

const body = Buffer.alloc(30_000);
const server = http.createServer((request, response) => {
  request.resume();
  request.on("end", () => response.end(body));
});
server.listen(0, "127.0.0.1", async () => {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 4 });
  const options = { host: "127.0.0.1", port: server.address().port, method: "POST", agent };
  const ask = () => new Promise((resolve, reject) => {
    const request = http.request(options, (response) => {
      let octets = 0;
      response.on("data", (data) => { octets += data.length; });
      response.on("end", () => resolve(octets));
    });
    request.on("error", reject);
    request.end(Buffer.alloc(5_000));
  });
  const answers = await Promise.all(Array.from({ length: 20 }, ask));
  console.log(answers.reduce((sum, octets) => sum + octets));
  agent.destroy();
  server.close(() => { process.exitCode = 7; });
});
