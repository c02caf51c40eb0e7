package introspect;

import static jakarta.servlet.http.HttpServletResponse.SC_SERVICE_UNAVAILABLE;
import static jakarta.servlet.http.HttpServletResponse.SC_UNAUTHORIZED;

import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;

/** What a request is answered with that is not let through. */
final class Refusal extends Exception {
    private static final long serialVersionUID = 1;

    private final int status;
    private final String code;
    private String challenge;
    private long retryAfter;

    /** Neither code nor error may need escaping in JSON. */
    Refusal(int status, String code, String error) {
        // Without a stack trace: it is an answer, not a fault.
        super(error, null, false, false);
        this.status = status;
        this.code = code;
    }

    static Refusal invalid() {
        return new Refusal(SC_UNAUTHORIZED, "CREDENTIAL_INVALID", "The credential is not good")
                .challenge("Bearer error=\"invalid_token\"");
    }

    static Refusal unavailable(long seconds) {
        Refusal refusal =
                new Refusal(SC_SERVICE_UNAVAILABLE, "AUTHORITY_UNAVAILABLE", "The request cannot be judged now");
        refusal.retryAfter = seconds;
        return refusal;
    }

    Refusal challenge(String value) {
        challenge = value;
        return this;
    }

    void send(HttpServletResponse response) throws IOException {
        response.setStatus(status);
        response.setHeader("Cache-Control", "no-store");
        if (challenge != null) {
            response.setHeader("WWW-Authenticate", challenge);
        }
        if (retryAfter > 0) {
            response.setHeader("Retry-After", Long.toString(retryAfter));
        }
        response.setContentType("application/json");
        response.setCharacterEncoding("UTF-8");
        response.getWriter().printf("{\"error\": \"%s\", \"code\": \"%s\"}%n", getMessage(), code);
    }
}
