// Plays the scenes of java.net.http.HttpClient: java HttpScenes URL TOKEN; prints one JSON object, a result for each scene.
// With a third argument it says whether one request succeeds: java HttpScenes URL "" probe.
import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.net.CookieManager;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.UUID;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;

public final class HttpScenes {
  private static final Set<String> HOP =
      Set.of("date", "connection", "keep-alive", "transfer-encoding", ":status");
  private static final String TEXT = "äöü and a line\n".repeat(50);
  private static final byte[] PATTERN = pattern();

  private static String base;
  /** As `new HttpClient` builds it, with redirects followed and cookies kept. */
  private static final HttpClient CLIENT =
      HttpClient.newBuilder()
          .followRedirects(HttpClient.Redirect.NORMAL)
          .cookieHandler(new CookieManager())
          .build();

  private HttpScenes() {}

  public static void main(String[] args) {
    base = args[0];
    if (args.length > 2) {
      probe();
      return;
    }
    String token = args[1];
    HttpClient plain = HttpClient.newHttpClient();
    Map<String, Callable<Object>> scenes = new LinkedHashMap<>();
    scenes.put("get", () -> ask("GET", "/json?a=1&b=two%20words&c=%C3%A9&d=a%2Fb"));
    scenes.put("head", () -> ask("HEAD", "/json"));
    scenes.put("json", () -> ask("POST", "/echo", bytes("{\"a\":[1,null]}"), "content-type", "application/json"));
    scenes.put("text", () -> ask("PUT", "/echo/path%20with/%C3%A9?x=%C3%BC", bytes(TEXT), "content-type", "text/plain"));
    scenes.put("empty", () -> ask("POST", "/echo", BodyPublishers.noBody()));
    scenes.put("patch", () -> ask("PATCH", "/echo", bytes("{}")));
    scenes.put("delete", () -> ask("DELETE", "/echo"));
    scenes.put("options", () -> ask("OPTIONS", "/echo"));
    scenes.put("seen", () -> ask("GET", "/seen", null, "X-Own", "mine", "Accept-Language", "de, en;q=0.5"));
    scenes.put("megabyte-down", () -> ask("GET", "/big"));
    scenes.put("megabyte-both", () -> ask("POST", "/mirror", BodyPublishers.ofByteArray(PATTERN)));
    scenes.put("chunked-up", () -> ask("POST", "/echo",
        BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(PATTERN, 0, 200_000))));
    scenes.put("chunked-down", () -> ask("GET", "/chunks"));
    scenes.put("gzip", () -> ask("GET", "/gzip", null, "accept-encoding", "gzip"));
    scenes.put("events", HttpScenes::events);
    scenes.put("redirects", () -> ask("GET", "/redirect/3"));
    scenes.put("redirect-kept", () -> ask("POST", "/redirect/same", bytes("kept")));
    scenes.put("redirect-seen", () -> told(plain.send(request("GET", "/redirect/away", null), BodyHandlers.ofByteArray())));
    scenes.put("no-content", () -> ask("GET", "/status/204"));
    scenes.put("not-found", () -> ask("GET", "/status/404"));
    scenes.put("too-many", () -> ask("GET", "/status/429"));
    scenes.put("server-error", () -> ask("GET", "/status/500"));
    scenes.put("unavailable", () -> ask("POST", "/status/503", bytes("x")));
    scenes.put("etag", () -> List.of(ask("GET", "/etag"), ask("GET", "/etag", null, "if-none-match", "\"v1-e\"")));
    scenes.put("range", () -> List.of(
        ask("GET", "/range", null, "range", "bytes=100-299"),
        ask("GET", "/range", null, "range", "bytes=99999-")));
    scenes.put("trailers", () -> ask("GET", "/trailers"));
    // A JVM before 20 waits for ever over HTTP/2, and for an answer that is not 100 over either (JDK-8286171).
    scenes.put("continue", () -> told(CLIENT.send(expecting("/echo"), BodyHandlers.ofByteArray())));
    scenes.put("slow", () -> ask("GET", "/slow"));
    scenes.put("gives-up", () -> told(CLIENT.send(
        HttpRequest.newBuilder(URI.create(base + "/never")).timeout(Duration.ofMillis(300)).build(),
        BodyHandlers.ofByteArray())));
    scenes.put("cut", () -> ask("GET", "/cut"));
    scenes.put("after-cut", () -> ask("GET", "/json"));
    scenes.put("cookies", () -> List.of(ask("GET", "/cookies/set"), ask("GET", "/cookies")));
    scenes.put("large-answer-header", () -> ask("GET", "/large"));
    scenes.put("large-request-header", () -> ask("GET", "/seen", null, "x-large", "q".repeat(8_000)));
    scenes.put("credential", () -> ask("GET", "/private", null, "authorization", "Bearer " + token));
    scenes.put("parallel", HttpScenes::parallel);
    Map<String, Object> results = new LinkedHashMap<>();
    scenes.forEach((name, scene) -> results.put(name, played(scene)));
    System.out.println(json(results));
    System.exit(0);
  }

  /** Whether one request succeeds. */
  private static void probe() {
    Object answer = played(() -> ask("GET", "/json"));
    System.out.println("{\"java\": " + (answer.toString().contains("status=200") ? "true" : json(answer)) + "}");
    System.exit(0);
  }

  private static Object played(Callable<Object> scene) {
    try {
      return scene.call();
    } catch (Exception error) {
      return Map.of("error", error.getClass().getName());
    }
  }

  private static BodyPublisher bytes(String text) {
    return BodyPublishers.ofString(text);
  }

  private static HttpRequest request(String method, String path, BodyPublisher body, String... headers) {
    HttpRequest.Builder builder = HttpRequest.newBuilder(URI.create(base + path)).timeout(Duration.ofSeconds(20));
    builder.method(method, body == null ? BodyPublishers.noBody() : body);
    if (headers.length > 0) builder.headers(headers);
    return builder.build();
  }

  private static HttpRequest expecting(String path) {
    return HttpRequest.newBuilder(URI.create(base + path))
        .version(HttpClient.Version.HTTP_1_1)
        .POST(BodyPublishers.ofByteArray(PATTERN, 0, 5_000))
        .expectContinue(true)
        .timeout(Duration.ofSeconds(20))
        .build();
  }

  private static Object ask(String method, String path) throws IOException, InterruptedException {
    return ask(method, path, null);
  }

  private static Object ask(String method, String path, BodyPublisher body, String... headers)
      throws IOException, InterruptedException {
    return told(CLIENT.send(request(method, path, body, headers), BodyHandlers.ofByteArray()));
  }

  private static Object told(HttpResponse<byte[]> answer) {
    Map<String, Object> headers = new TreeMap<>();
    answer.headers().map().forEach((name, values) -> {
      if (!HOP.contains(name)) headers.put(name, values);
    });
    byte[] body = answer.body();
    Map<String, Object> told = new LinkedHashMap<>();
    told.put("status", answer.statusCode());
    told.put("headers", headers);
    told.put("body", body.length < 1_500
        ? new String(body, StandardCharsets.UTF_8)
        : body.length + " bytes " + digest(body));
    told.put("hops", answer.previousResponse().isPresent());
    return told;
  }

  /** The first event arrives while the origin still waits for somebody who has read it. */
  private static Object events() throws IOException, InterruptedException {
    String id = UUID.randomUUID().toString();
    InputStream stream = CLIENT.send(request("GET", "/events?id=" + id, null), BodyHandlers.ofInputStream()).body();
    try (BufferedReader lines = new BufferedReader(new InputStreamReader(stream, StandardCharsets.UTF_8))) {
      List<Object> read = new ArrayList<>(List.of(lines.readLine(), lines.readLine()));
      read.add(CLIENT.send(request("POST", "/release?id=" + id, null), BodyHandlers.discarding()).statusCode());
      lines.lines().forEach(read::add);
      return read;
    }
  }

  private static Object parallel() {
    List<CompletableFuture<Object>> started = new ArrayList<>();
    for (int at = 0; at < 16; at++)
      started.add(CLIENT.sendAsync(request("GET", "/json?at=" + at, null), BodyHandlers.ofByteArray())
          .thenApply(HttpScenes::told));
    return started.stream().map(CompletableFuture::join).toList();
  }

  private static byte[] pattern() {
    ByteBuffer buffer = ByteBuffer.allocate(1024 * 1024).order(ByteOrder.LITTLE_ENDIAN);
    for (int at = 0; at < buffer.capacity(); at += 4) buffer.putInt(at * (int) 2_654_435_761L);
    return buffer.array();
  }

  private static String digest(byte[] body) {
    try {
      byte[] sum = MessageDigest.getInstance("SHA-256").digest(body);
      return HexFormat.of().formatHex(Arrays.copyOf(sum, 8));
    } catch (java.security.NoSuchAlgorithmException error) {
      throw new IllegalStateException(error);
    }
  }

  private static String json(Object value) {
    if (value instanceof Map<?, ?> map) {
      List<String> entries = new ArrayList<>();
      map.forEach((name, one) -> entries.add(json(name) + ":" + json(one)));
      return "{" + String.join(",", entries) + "}";
    }
    if (value instanceof List<?> list) return "[" + String.join(",", list.stream().map(HttpScenes::json).toList()) + "]";
    if (value instanceof Number || value instanceof Boolean) return value.toString();
    StringBuilder out = new StringBuilder("\"");
    for (char c : String.valueOf(value).toCharArray())
      out.append(c < 0x20 || c == '"' || c == '\\' || c > 0x7e ? String.format("\\u%04x", (int) c) : String.valueOf(c));
    return out.append('"').toString();
  }
}
