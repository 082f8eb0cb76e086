import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.concurrent.Executors;

/** The JDK's own server with a ledger: java LedgerJdk.java PORT LEDGER. */
public class LedgerJdk {
  public static void main(String[] args) throws Exception {
    FileChannel ledger = FileChannel.open(Path.of(args[1]), StandardOpenOption.CREATE, StandardOpenOption.APPEND);
    HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(args[0])), 1024);
    server.setExecutor(Executors.newCachedThreadPool());
    server.createContext("/", x -> {
      String body = new String(x.getRequestBody().readAllBytes());
      String id = x.getRequestHeaders().getFirst("X-Id");
      if (id != null) {
        ledger.write(ByteBuffer.wrap((id + " " + body + "\n").getBytes()));
      }
      x.sendResponseHeaders(200, 2);
      x.getResponseBody().write("ok".getBytes());
      x.close();
    });
    server.start();
  }
}
