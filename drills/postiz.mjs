// A Postiz that knows one key: DRILL_POSTIZ_KEY. Listens on the port that is given, of loopback.
import { createServer } from "node:http";

createServer((request, response) => {
  const isKnown = request.headers.authorization === process.env["DRILL_POSTIZ_KEY"];
  const [status, body] = !request.url?.startsWith("/api/")
    ? [200, "<html>the web app</html>"]
    : isKnown
      ? [200, '{"connected":true}']
      : [401, '{"msg":"Invalid API key"}'];
  const type = body.startsWith("<") ? "text/html" : "application/json";
  request.resume();
  response.writeHead(status, { "Content-Type": type, "Content-Length": Buffer.byteLength(body) }).end(body);
}).listen(Number(process.argv[2]), "127.0.0.1");
