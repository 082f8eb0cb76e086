import java.io.IOException;
import javax.servlet.http.HttpServletRequest;
import javax.servlet.http.HttpServletResponse;
import org.eclipse.jetty.server.Request;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.eclipse.jetty.server.handler.AbstractHandler;

/** Jetty with a ledger: java LedgerJetty.java PORT LEDGER. It closes idle connections by half-close and reads on. */
public class LedgerJetty extends AbstractHandler {
  private final java.nio.channels.FileChannel ledger;

  LedgerJetty(String path) throws IOException {
    ledger = java.nio.channels.FileChannel.open(java.nio.file.Path.of(path), java.nio.file.StandardOpenOption.CREATE, java.nio.file.StandardOpenOption.APPEND);
  }

  @Override
  public void handle(String target, Request base, HttpServletRequest request, HttpServletResponse response) throws IOException {
    base.setHandled(true);
    String body = new String(request.getInputStream().readAllBytes());
    String id = request.getHeader("X-Id");
    if (id != null) {
      ledger.write(java.nio.ByteBuffer.wrap((id + " " + body + "\n").getBytes()));
    }
    response.getOutputStream().write("ok".getBytes());
  }

  public static void main(String[] args) throws Exception {
    Server server = new Server();
    ServerConnector c = new ServerConnector(server);
    c.setHost("127.0.0.1");
    c.setPort(Integer.parseInt(args[0]));
    c.setIdleTimeout(20);
    server.addConnector(c);
    server.setHandler(new LedgerJetty(args[1]));
    server.start();
    server.join();
  }
}
