package introspect;

import static java.util.concurrent.TimeUnit.SECONDS;

import io.grpc.ChannelCredentials;
import io.grpc.ConnectivityState;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.TlsChannelCredentials;
import io.grpc.stub.MetadataUtils;
import jakarta.servlet.Filter;
import java.io.IOException;
import java.net.URI;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import tokenauthority.v1.IntrospectRequest;
import tokenauthority.v1.IntrospectResponse;
import tokenauthority.v1.TokenAuthorityServiceGrpc;
import tokenauthority.v1.TokenAuthorityServiceGrpc.TokenAuthorityServiceBlockingStub;

/**
 * Asks token-authority about the requests of a servlet container.
 *
 * <pre>{@code
 * var introspector = new Introspector("http://127.0.0.1:50051", credential, null);
 * context.addFilter("readers", introspector.require("trading:read"))
 *     .addMappingForUrlPatterns(null, true, "/trades");
 * }</pre>
 *
 * and in the servlet: {@code IntrospectFilter.subject(request).getAccountId()}.
 */
public final class Introspector implements AutoCloseable {
    /** For one request, however often the authority is asked for it. */
    private static final long DEADLINE_SECONDS = 2;

    /**
     * Only what certainly had no effect is tried again, and never without end: three attempts
     * within the deadline, and fewer while most of them fail.
     */
    private static final Map<String, ?> SERVICE_CONFIG = Map.of(
            "methodConfig",
            List.of(Map.of(
                    "name",
                    List.of(Map.of("service", TokenAuthorityServiceGrpc.SERVICE_NAME, "method", "Introspect")),
                    "retryPolicy",
                    Map.of(
                            "maxAttempts", 3.0,
                            "initialBackoff", "0.05s",
                            "maxBackoff", "0.5s",
                            "backoffMultiplier", 2.0,
                            "retryableStatusCodes", List.of("UNAVAILABLE")))),
            "retryThrottling",
            Map.of("maxTokens", 100.0, "tokenRatio", 0.1));

    private final ManagedChannel channel;
    private final TokenAuthorityServiceBlockingStub stub;

    /**
     * Connects with the first question.
     *
     * @param url the authority's, {@code http://HOST:PORT} or {@code https://HOST:PORT}
     * @param credential what it is asked with
     * @param authorities whose certificates are believed for https, a file in PEM; null means the system's
     */
    public Introspector(String url, String credential, Path authorities) throws IOException {
        URI uri = URI.create(url);
        boolean secure = "https".equals(uri.getScheme());
        if (uri.getHost() == null || !secure && !"http".equals(uri.getScheme())) {
            throw new IllegalArgumentException("the authority's URL looks like https://HOST:PORT or http://HOST:PORT");
        }
        int port = uri.getPort() >= 0 ? uri.getPort() : secure ? 443 : 80;
        channel = Grpc.newChannelBuilder(
                        "dns:///" + uri.getHost() + ":" + port,
                        secure ? tls(authorities) : InsecureChannelCredentials.create())
                .defaultServiceConfig(SERVICE_CONFIG)
                // One that fell silent is noticed.
                .keepAliveTime(20, SECONDS)
                .keepAliveTimeout(5, SECONDS)
                .keepAliveWithoutCalls(true)
                .build();
        Metadata metadata = new Metadata();
        metadata.put(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER), "Bearer " + credential);
        stub = TokenAuthorityServiceGrpc.newBlockingStub(channel)
                .withInterceptors(MetadataUtils.newAttachHeadersInterceptor(metadata));
    }

    private static ChannelCredentials tls(Path authorities) throws IOException {
        var credentials = TlsChannelCredentials.newBuilder();
        return (authorities == null ? credentials : credentials.trustManager(authorities.toFile())).build();
    }

    /** Lets requests through whose credential holds all of these scopes. */
    public Filter require(String... scopes) {
        return new IntrospectFilter(this, List.of(scopes));
    }

    IntrospectResponse introspect(IntrospectRequest question) {
        // A server that came back is to be found at once: by itself, gRPC waits for up to two minutes.
        if (channel.getState(false) == ConnectivityState.TRANSIENT_FAILURE) {
            channel.resetConnectBackoff();
        }
        return stub.withDeadlineAfter(DEADLINE_SECONDS, SECONDS).introspect(question);
    }

    /** Ends the connection. */
    @Override
    public void close() {
        channel.shutdownNow();
    }
}
