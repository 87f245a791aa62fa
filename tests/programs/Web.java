// Java's own HTTP server and client in one process: twenty requests with a body each, answered by a pool of threads.

import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

public class Web {
    public static void main(String[] arguments) throws Exception {
        byte[] body = new byte[30_000];
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", 0), 0);
        ExecutorService serving = Executors.newFixedThreadPool(4);
        server.setExecutor(serving);
        server.createContext("/", exchange -> {
            exchange.getRequestBody().readAllBytes();
            exchange.sendResponseHeaders(200, body.length);
            try (var out = exchange.getResponseBody()) {
                out.write(body);
            }
        });
        server.start();
        ExecutorService asking = Executors.newFixedThreadPool(4);
        HttpClient client = HttpClient.newBuilder().executor(asking).version(HttpClient.Version.HTTP_1_1).build();
        URI address = URI.create("http://127.0.0.1:" + server.getAddress().getPort() + "/");
        HttpRequest request =
            HttpRequest.newBuilder(address).POST(HttpRequest.BodyPublishers.ofByteArray(new byte[5_000])).build();
        List<CompletableFuture<Integer>> answers = new ArrayList<>();
        for (int n = 0; n < 20; n++) {
            answers.add(client.sendAsync(request, HttpResponse.BodyHandlers.ofByteArray())
                .thenApply(answer -> answer.body().length));
        }
        int octets = 0;
        for (var answer : answers) {
            octets += answer.get();
        }
        System.out.println(octets);
        server.stop(0);
        System.exit(7);
    }
}
