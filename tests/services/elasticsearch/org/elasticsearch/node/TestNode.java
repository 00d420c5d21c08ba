package org.elasticsearch.node;

import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.function.Predicate;
import java.util.function.Supplier;
import org.elasticsearch.Build;
import org.elasticsearch.Version;
import org.elasticsearch.client.internal.node.NodeClient;
import org.elasticsearch.cluster.metadata.IndexNameExpressionResolver;
import org.elasticsearch.cluster.node.DiscoveryNodes;
import org.elasticsearch.cluster.service.ClusterService;
import org.elasticsearch.common.io.stream.NamedWriteableRegistry;
import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.ClusterSettings;
import org.elasticsearch.common.settings.IndexScopedSettings;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.common.settings.SettingsFilter;
import org.elasticsearch.env.Environment;
import org.elasticsearch.features.NodeFeature;
import org.elasticsearch.http.HttpServerTransport;
import org.elasticsearch.plugins.ActionPlugin;
import org.elasticsearch.plugins.Plugin;
import org.elasticsearch.plugins.PluginDescriptor;
import org.elasticsearch.plugins.PluginsLoader;
import org.elasticsearch.plugins.PluginsService;
import org.elasticsearch.rest.RestChannel;
import org.elasticsearch.rest.RestController;
import org.elasticsearch.rest.RestHandler;
import org.elasticsearch.rest.RestRequest;
import org.elasticsearch.rest.RestResponse;
import org.elasticsearch.rest.RestStatus;

/**
 * One Elasticsearch node in this process. Arguments: a file for the URL once the node answers, then key=value settings.
 *
 * It lives in the server's own package because plugins on the class path, instead of in folders of their own, need a
 * PluginsService that only NodeConstruction can be handed.
 */
public class TestNode {
    private static final String[] PLUGINS = {
        "transport.netty4.Netty4Plugin", "reindex.ReindexPlugin", "index.mapper.extras.MapperExtrasPlugin", "join.ParentJoinPlugin",
        "aggregations.AggregationsPlugin", "script.mustache.MustachePlugin", "painless.PainlessPlugin",
        "analysis.common.CommonAnalysisPlugin", "ingest.common.IngestCommonPlugin", "datastreams.DataStreamsPlugin",
        "node.TestNode$Greeting",
    };

    private static volatile Supplier<String> clusterId = () -> "_na_";

    public static void main(String[] arguments) throws Exception {
        LogConfigurator.configureESLogging();
        Settings.Builder settings = Settings.builder();
        for (int i = 1; i < arguments.length; i++) {
            int at = arguments[i].indexOf('=');
            settings.put(arguments[i].substring(0, at), arguments[i].substring(at + 1));
        }
        Environment environment = InternalSettingsPreparer.prepareEnvironment(settings.build(), Map.of(), null, () -> "node-1");
        PluginsLoader nothing = PluginsLoader.createPluginsLoader(Set.of(), Set.of(), Map.of(), false);
        var construction = NodeConstruction.prepareConstruction(environment, nothing, new NodeServiceProvider() {
            @Override
            PluginsService newPluginService(Environment environment, PluginsLoader loader) {
                return new FromClassPath(environment, loader);
            }
        }, true);
        Node node = new Node(construction) { };
        CountDownLatch closed = new CountDownLatch(1);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try {
                node.close();
                node.awaitClose(10, TimeUnit.SECONDS);
            } catch (Exception error) {
                error.printStackTrace();
            } finally {
                closed.countDown();
            }
        }));
        ClusterService clusters = node.injector().getInstance(ClusterService.class);
        clusterId = () -> clusters.state().metadata().clusterUUID();
        node.start();
        node.client().admin().cluster().prepareHealth(org.elasticsearch.core.TimeValue.timeValueSeconds(60)).setWaitForYellowStatus().get();
        var address = node.injector().getInstance(HttpServerTransport.class).boundAddress().publishAddress();
        Path url = Path.of(arguments[0]), part = Path.of(arguments[0] + ".part");
        Files.writeString(part, "http://" + address.getAddress() + ":" + address.getPort() + "\n");
        Files.move(part, url, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
        closed.await();
    }

    /** The plugins named above, those of them that are on the class path. */
    @SuppressWarnings({ "unchecked", "rawtypes" })
    private static final class FromClassPath extends PluginsService {
        /** Null while the parent's constructor runs, which asks for the list already. */
        private final List loaded;

        FromClassPath(Environment environment, PluginsLoader loader) {
            super(environment.settings(), environment.configDir(), loader);
            loaded = new ArrayList();
            try {
                var record = Class.forName("org.elasticsearch.plugins.PluginsService$LoadedPlugin")
                    .getDeclaredConstructor(PluginDescriptor.class, Plugin.class, ClassLoader.class);
                record.setAccessible(true);
                var load = PluginsService.class.getDeclaredMethod("loadPlugin", Class.class, Settings.class, java.nio.file.Path.class);
                load.setAccessible(true);
                for (String name : PLUGINS) {
                    Class<?> type;
                    try {
                        type = Class.forName("org.elasticsearch." + name);
                    } catch (ClassNotFoundException absent) {
                        continue;
                    }
                    var told = new PluginDescriptor(type.getName(), "from the class path", "1", Version.CURRENT.toString(),
                        Integer.toString(Runtime.version().feature()), type.getName(), null, List.of(), false, false, false, false);
                    Object plugin = load.invoke(null, type, environment.settings(), environment.configDir());
                    loaded.add(record.newInstance(told, plugin, TestNode.class.getClassLoader()));
                }
            } catch (ReflectiveOperationException error) {
                throw new IllegalStateException("this version of the server loads plugins differently", error);
            }
        }

        @Override
        protected List plugins() {
            return loaded == null ? List.of() : loaded;
        }
    }

    /** GET and HEAD of "/": the distribution's own handler has no jar of its own. */
    public static class Greeting extends Plugin implements ActionPlugin {
        @Override
        public List<RestHandler> getRestHandlers(Settings settings, NamedWriteableRegistry names, RestController controller,
                ClusterSettings cluster, IndexScopedSettings index, SettingsFilter filter, IndexNameExpressionResolver resolver,
                Supplier<DiscoveryNodes> nodes, Predicate<NodeFeature> features) {
            return List.of(new RestHandler() {
                @Override
                public List<Route> routes() {
                    return List.of(new Route(RestRequest.Method.GET, "/"), new Route(RestRequest.Method.HEAD, "/"));
                }

                @Override
                public void handleRequest(RestRequest request, RestChannel channel, NodeClient client) throws Exception {
                    Build build = Build.current();
                    var answer = channel.newBuilder().startObject()
                        .field("name", nodes.get().getLocalNode().getName())
                        .field("cluster_name", settings.get("cluster.name"))
                        .field("cluster_uuid", clusterId.get())
                        .startObject("version")
                        .field("number", build.qualifiedVersion())
                        .field("build_flavor", build.flavor())
                        .field("build_hash", build.hash())
                        .field("build_date", build.date())
                        .field("build_snapshot", build.isSnapshot())
                        .field("lucene_version", org.apache.lucene.util.Version.LATEST.toString())
                        .endObject()
                        .field("tagline", "You Know, for Search")
                        .endObject();
                    channel.sendResponse(new RestResponse(RestStatus.OK, answer));
                }
            });
        }
    }
}
