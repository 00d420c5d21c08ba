import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import org.opensearch.common.settings.Settings;
import org.opensearch.env.Environment;
import org.opensearch.http.HttpServerTransport;
import org.opensearch.node.InternalSettingsPreparer;
import org.opensearch.node.Node;
import org.opensearch.plugins.Plugin;
import org.opensearch.action.admin.cluster.health.ClusterHealthRequest;

/** One OpenSearch node in this process. Arguments: a file for the URL once the node answers, then key=value settings. */
public class TestNode extends Node {
    /** Those of the distribution's modules that have jars of their own; what is not on the class path is left out. */
    private static final String[] PLUGINS = {
        "transport.Netty4Plugin", "transport.Netty4ModulePlugin", "index.reindex.ReindexPlugin", "index.reindex.ReindexModulePlugin",
        "index.mapper.MapperExtrasPlugin", "index.mapper.MapperExtrasModulePlugin", "join.ParentJoinPlugin", "join.ParentJoinModulePlugin",
        "percolator.PercolatorPlugin", "percolator.PercolatorModulePlugin", "index.rankeval.RankEvalPlugin", "index.rankeval.RankEvalModulePlugin",
        "search.aggregations.matrix.MatrixAggregationPlugin", "search.aggregations.matrix.MatrixAggregationModulePlugin",
        "script.mustache.MustachePlugin", "script.mustache.MustacheModulePlugin", "painless.PainlessPlugin", "painless.PainlessModulePlugin",
        "analysis.common.CommonAnalysisPlugin", "analysis.common.CommonAnalysisModulePlugin",
        "ingest.common.IngestCommonPlugin", "ingest.common.IngestCommonModulePlugin", "security.OpenSearchSecurityPlugin",
    };

    private TestNode(Environment environment, List<Class<? extends Plugin>> plugins) {
        super(environment, plugins, true);
    }

    public static void main(String[] arguments) throws Exception {
        Settings.Builder settings = Settings.builder();
        for (int i = 1; i < arguments.length; i++) {
            int at = arguments[i].indexOf('=');
            settings.put(arguments[i].substring(0, at), arguments[i].substring(at + 1));
        }
        List<Class<? extends Plugin>> plugins = new ArrayList<>();
        for (String name : PLUGINS) {
            try {
                plugins.add(Class.forName("org.opensearch." + name).asSubclass(Plugin.class));
            } catch (ClassNotFoundException absent) {
                // Not every module has both names, and security is there only when asked for.
            }
        }
        Environment environment = InternalSettingsPreparer.prepareEnvironment(settings.build(), Map.of(), null, () -> "node-1");
        boolean tls = environment.settings().getAsBoolean("plugins.security.ssl.http.enabled", false);
        TestNode node = new TestNode(environment, plugins);
        CountDownLatch closed = new CountDownLatch(1);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try {
                node.close();
            } catch (IOException error) {
                error.printStackTrace();
            } finally {
                closed.countDown();
            }
        }));
        node.start();
        if (tls) {
            // Until the plugin has made its index every request is answered 503.
            awaitIndex(node);
        } else {
            node.client().admin().cluster().health(new ClusterHealthRequest().waitForYellowStatus()).actionGet();
        }
        var address = node.injector().getInstance(HttpServerTransport.class).boundAddress().publishAddress();
        Path url = Path.of(arguments[0]), part = Path.of(arguments[0] + ".part");
        Files.writeString(part, (tls ? "https" : "http") + "://" + address.getAddress() + ":" + address.getPort() + "\n");
        Files.move(part, url, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
        closed.await();
    }

    /** Waits until an unauthenticated request is refused as such (401) rather than put off (503). */
    private static void awaitIndex(TestNode node) throws Exception {
        var address = node.injector().getInstance(HttpServerTransport.class).boundAddress().publishAddress();
        var context = javax.net.ssl.SSLContext.getInstance("TLS");
        // The node asks itself on loopback; whose certificate answers does not matter here.
        context.init(null, new javax.net.ssl.TrustManager[] { new Anyone() }, null);
        for (int i = 0; i < 1200; i++) {
            try (Socket socket = context.getSocketFactory().createSocket()) {
                socket.connect(new InetSocketAddress(address.getAddress(), address.getPort()));
                socket.getOutputStream().write("GET / HTTP/1.0\r\nhost: localhost\r\n\r\n".getBytes());
                byte[] answer = socket.getInputStream().readNBytes(12);
                if (new String(answer).endsWith("401")) {
                    return;
                }
            }
            Thread.sleep(50);
        }
        throw new IllegalStateException("the security plugin did not come up");
    }

    private static final class Anyone extends javax.net.ssl.X509ExtendedTrustManager {
        @Override public void checkClientTrusted(java.security.cert.X509Certificate[] chain, String type) { }
        @Override public void checkServerTrusted(java.security.cert.X509Certificate[] chain, String type) { }
        @Override public void checkClientTrusted(java.security.cert.X509Certificate[] chain, String type, Socket socket) { }
        @Override public void checkServerTrusted(java.security.cert.X509Certificate[] chain, String type, Socket socket) { }
        @Override public void checkClientTrusted(java.security.cert.X509Certificate[] chain, String type, javax.net.ssl.SSLEngine engine) { }
        @Override public void checkServerTrusted(java.security.cert.X509Certificate[] chain, String type, javax.net.ssl.SSLEngine engine) { }
        @Override public java.security.cert.X509Certificate[] getAcceptedIssuers() {
            return new java.security.cert.X509Certificate[0];
        }
    }
}
