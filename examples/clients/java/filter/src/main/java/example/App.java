package example;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.type.TypeReference;
import com.fasterxml.jackson.databind.ObjectMapper;
import introspect.IntrospectFilter;
import introspect.Introspector;
import jakarta.servlet.Filter;
import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.logging.Level;
import java.util.logging.Logger;
import org.apache.catalina.Context;
import org.apache.catalina.startup.Tomcat;
import org.apache.tomcat.util.descriptor.web.FilterDef;
import org.apache.tomcat.util.descriptor.web.FilterMap;

/**
 * Two routes that need a scope, one that needs a credential alone, and one open to all.
 *
 * <p>Settings come from the environment: AUTHORITY_URL, AUTHORITY_CREDENTIAL_FILE, AUTHORITY_CA_FILE
 * (for https, where the system's authorities are not meant), LISTEN.
 */
public final class App {
    private static final ObjectMapper JSON = new ObjectMapper();

    /** By itself, Tomcat logs malformed headers as they are, with the credential that is in them. */
    private static final Logger CONNECTOR = Logger.getLogger("org.apache.coyote");

    private App() {}

    public static void main(String[] arguments) throws Exception {
        CONNECTOR.setLevel(Level.WARNING);
        String credential = Files.readString(Path.of(System.getenv("AUTHORITY_CREDENTIAL_FILE"))).strip();
        String authorities = System.getenv("AUTHORITY_CA_FILE");
        Introspector introspector = new Introspector(
                System.getenv("AUTHORITY_URL"), credential, authorities == null ? null : Path.of(authorities));

        String listen = System.getenv().getOrDefault("LISTEN", "127.0.0.1:8000");
        int separator = listen.lastIndexOf(':');
        Tomcat tomcat = new Tomcat();
        tomcat.setBaseDir(Files.createTempDirectory("tomcat").toString());
        tomcat.setPort(Integer.parseInt(listen.substring(separator + 1)));
        tomcat.getConnector().setProperty("address", listen.substring(0, separator));
        routes(tomcat.addContext("", null), introspector);
        tomcat.start();
        Runtime.getRuntime().addShutdownHook(new Thread(introspector::close));
        System.out.println("listening on " + listen.substring(0, separator) + ":" + tomcat.getConnector().getLocalPort());
        tomcat.getServer().await();
    }

    private static void routes(Context context, Introspector introspector) {
        servlet(context, "/healthz", "GET", request -> Map.of("status", "ok"));
        protect(context, "/api/v1/me", introspector.require());
        servlet(context, "/api/v1/me", "GET", request -> {
            var subject = IntrospectFilter.subject(request);
            return Map.of(
                    "account", subject.getAccountId(),
                    "token", subject.getTokenId(),
                    "scopes", List.copyOf(subject.getScopesList()));
        });
        protect(context, "/api/v1/trades", introspector.require("trading:read"));
        servlet(context, "/api/v1/trades", "GET", request ->
                Map.of("account", IntrospectFilter.subject(request).getAccountId(), "trades", List.of()));
        protect(context, "/api/v1/signals/ingest", introspector.require("signals:write"));
        servlet(context, "/api/v1/signals/ingest", "POST", request -> {
            Map<String, Object> signal = JSON.readValue(request.getInputStream(), new TypeReference<>() {});
            return Map.of("account", IntrospectFilter.subject(request).getAccountId(), "accepted", signal.size());
        });
    }

    private static void protect(Context context, String path, Filter filter) {
        FilterDef definition = new FilterDef();
        definition.setFilterName("introspect " + path);
        definition.setFilter(filter);
        context.addFilterDef(definition);
        FilterMap mapping = new FilterMap();
        mapping.setFilterName(definition.getFilterName());
        mapping.addURLPattern(path);
        context.addFilterMap(mapping);
    }

    private interface Handler {
        Map<String, ?> handle(HttpServletRequest request) throws IOException;
    }

    private static void servlet(Context context, String path, String method, Handler handler) {
        Tomcat.addServlet(context, path, new HttpServlet() {
            private static final long serialVersionUID = 1;

            @Override
            protected void service(HttpServletRequest request, HttpServletResponse response) throws IOException {
                if (!request.getMethod().equals(method)) {
                    response.setStatus(HttpServletResponse.SC_METHOD_NOT_ALLOWED);
                    response.setHeader("Allow", method);
                    return;
                }
                Map<String, ?> answer;
                try {
                    answer = handler.handle(request);
                } catch (JsonProcessingException malformed) {
                    response.setStatus(HttpServletResponse.SC_BAD_REQUEST);
                    answer = Map.of("error", "not a JSON object", "code", "INVALID_BODY");
                }
                response.setContentType("application/json");
                JSON.writeValue(response.getOutputStream(), answer);
            }
        });
        context.addServletMappingDecoded(path, path);
    }
}
