import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import org.apache.catalina.Context;
import org.apache.catalina.connector.Connector;
import org.apache.catalina.startup.Tomcat;

/** Tomcat with a ledger: java LedgerTomcat.java PORT LEDGER DIR. */
public class LedgerTomcat {
  public static void main(String[] args) throws Exception {
    FileChannel ledger = FileChannel.open(Path.of(args[1]), StandardOpenOption.CREATE, StandardOpenOption.APPEND);
    Tomcat tomcat = new Tomcat();
    tomcat.setBaseDir(args[2]);
    Connector c = new Connector();
    c.setPort(Integer.parseInt(args[0]));
    c.setProperty("address", "127.0.0.1");
    c.setProperty("keepAliveTimeout", "20");
    c.setProperty("maxKeepAliveRequests", "-1");
    tomcat.setConnector(c);
    Context ctx = tomcat.addContext("", args[2]);
    Tomcat.addServlet(ctx, "ledger", new HttpServlet() {
      @Override
      protected void doPost(HttpServletRequest request, HttpServletResponse response) throws IOException {
        String body = new String(request.getInputStream().readAllBytes());
        String id = request.getHeader("X-Id");
        if (id != null) {
          ledger.write(ByteBuffer.wrap((id + " " + body + "\n").getBytes()));
        }
        response.getOutputStream().write("ok".getBytes());
      }
    });
    ctx.addServletMappingDecoded("/*", "ledger");
    tomcat.start();
    tomcat.getServer().await();
  }
}
