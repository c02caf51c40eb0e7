package example;

import jakarta.servlet.DispatcherType;
import java.util.List;
import java.util.Map;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.context.annotation.Bean;
import org.springframework.http.HttpMethod;
import org.springframework.security.config.annotation.web.builders.HttpSecurity;
import org.springframework.security.core.annotation.AuthenticationPrincipal;
import org.springframework.security.oauth2.core.OAuth2AuthenticatedPrincipal;
import org.springframework.security.web.SecurityFilterChain;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.PostMapping;
import org.springframework.web.bind.annotation.RequestBody;
import org.springframework.web.bind.annotation.RestController;

/**
 * A resource server as Spring Security makes one of settings (application.properties): nothing in it
 * is of token-authority. It asks the OAuth 2.0 introspection endpoint (RFC 7662) about each request.
 */
@SpringBootApplication
@RestController
public class App {
    public static void main(String[] arguments) {
        SpringApplication.run(App.class, arguments);
    }

    @Bean
    SecurityFilterChain security(HttpSecurity http) {
        return http.authorizeHttpRequests(requests -> requests
                        // Where the authority cannot be asked, that is 500 and not 401: the page that says so is open.
                        .dispatcherTypeMatchers(DispatcherType.ERROR)
                        .permitAll()
                        .requestMatchers("/healthz")
                        .permitAll()
                        .requestMatchers(HttpMethod.GET, "/api/v1/trades")
                        .hasAuthority("SCOPE_trading:read")
                        .requestMatchers(HttpMethod.POST, "/api/v1/signals/ingest")
                        .hasAuthority("SCOPE_signals:write")
                        .anyRequest()
                        .authenticated())
                .csrf(csrf -> csrf.disable())
                .oauth2ResourceServer(server -> server.opaqueToken(token -> {}))
                .build();
    }

    @GetMapping("/healthz")
    Map<String, ?> health() {
        return Map.of("status", "ok");
    }

    @GetMapping("/api/v1/me")
    Map<String, ?> me(@AuthenticationPrincipal OAuth2AuthenticatedPrincipal subject) {
        return Map.of(
                "account", subject.getName(),
                "token", subject.<String>getAttribute("jti"),
                "scopes", subject.<List<String>>getAttribute("scope"));
    }

    @GetMapping("/api/v1/trades")
    Map<String, ?> trades(@AuthenticationPrincipal OAuth2AuthenticatedPrincipal subject) {
        return Map.of("account", subject.getName(), "trades", List.of());
    }

    @PostMapping("/api/v1/signals/ingest")
    Map<String, ?> ingest(
            @AuthenticationPrincipal OAuth2AuthenticatedPrincipal subject, @RequestBody Map<String, ?> signal) {
        return Map.of("account", subject.getName(), "accepted", signal.size());
    }
}
