package introspect;

import static jakarta.servlet.http.HttpServletResponse.SC_FORBIDDEN;
import static jakarta.servlet.http.HttpServletResponse.SC_INTERNAL_SERVER_ERROR;
import static jakarta.servlet.http.HttpServletResponse.SC_UNAUTHORIZED;

import com.google.rpc.RetryInfo;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import jakarta.servlet.FilterChain;
import jakarta.servlet.ServletException;
import jakarta.servlet.http.HttpFilter;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.logging.Level;
import java.util.logging.Logger;
import java.util.regex.Pattern;
import tokenauthority.v1.IntrospectRequest;
import tokenauthority.v1.IntrospectResponse;
import tokenauthority.v1.Verdict;

/**
 * Lets a request through where the authority allows it. Whatever it does not clearly allow is refused.
 */
public final class IntrospectFilter extends HttpFilter {
    private static final long serialVersionUID = 1;
    private static final Logger LOG = Logger.getLogger(IntrospectFilter.class.getName());
    private static final String SUBJECT = IntrospectFilter.class.getName() + ".subject";

    /** What a credential can look like at all: visible ASCII. */
    private static final Pattern TOKEN = Pattern.compile("[!-~]{1,4096}");

    private static final Pattern BEARER = Pattern.compile("bearer(?: +(.*))?", Pattern.CASE_INSENSITIVE);

    /** RFC 9110, section 5.6.7: a number may have a zone, which no network knows. */
    private static final Pattern ZONE = Pattern.compile("%.*");

    private final transient Introspector introspector;
    private final transient List<String> scopes;

    IntrospectFilter(Introspector introspector, List<String> scopes) {
        this.introspector = introspector;
        this.scopes = scopes;
    }

    /** For whom the request was let through; an error where nobody was asked. */
    public static IntrospectResponse subject(HttpServletRequest request) {
        if (request.getAttribute(SUBJECT) instanceof IntrospectResponse subject) {
            return subject;
        }
        throw new IllegalStateException("no filter of this path requires a credential");
    }

    @Override
    protected void doFilter(HttpServletRequest request, HttpServletResponse response, FilterChain chain)
            throws IOException, ServletException {
        try {
            request.setAttribute(SUBJECT, admit(request));
        } catch (Refusal refusal) {
            refusal.send(response);
            return;
        }
        chain.doFilter(request, response);
    }

    private IntrospectResponse admit(HttpServletRequest request) throws Refusal {
        IntrospectRequest question = IntrospectRequest.newBuilder()
                .setToken(credential(request))
                .addAllRequiredScopes(scopes)
                .setClientIp(address(request))
                .build();
        IntrospectResponse answer;
        try {
            answer = introspector.introspect(question);
        } catch (StatusRuntimeException failed) {
            throw refusal(failed);
        }
        Verdict verdict = answer.getVerdict();
        if (answer.getActive()
                && verdict == Verdict.VERDICT_ALLOWED
                && !answer.getAccountId().isEmpty()
                && answer.getMissingScopesCount() == 0) {
            return answer;
        }
        if (!answer.getActive() && verdict == Verdict.VERDICT_UNAUTHENTICATED) {
            throw Refusal.invalid();
        }
        if (answer.getActive() && verdict == Verdict.VERDICT_INSUFFICIENT_SCOPE) {
            String challenge = "Bearer error=\"insufficient_scope\", scope=\"" + String.join(" ", scopes) + '"';
            throw new Refusal(SC_FORBIDDEN, "INSUFFICIENT_SCOPE", "Insufficient scope").challenge(challenge);
        }
        LOG.severe("the authority's answer contradicts itself");
        throw Refusal.unavailable(1);
    }

    /** The one credential that was presented (RFC 6750, section 2.1). */
    private static String credential(HttpServletRequest request) throws Refusal {
        List<String> bearers = values(request, "Authorization");
        List<String> keys = values(request, "X-API-Key");
        if (bearers.size() + keys.size() > 1) {
            // RFC 6750, section 2: not more than one method. Which one to believe is not ours to guess.
            throw new Refusal(SC_UNAUTHORIZED, "SEVERAL_CREDENTIALS", "Present one credential")
                    .challenge("Bearer error=\"invalid_request\"");
        }
        String credential;
        if (!keys.isEmpty()) {
            credential = keys.get(0);
        } else {
            var bearer = BEARER.matcher(bearers.isEmpty() ? "" : bearers.get(0));
            if (!bearer.matches()) {
                throw new Refusal(SC_UNAUTHORIZED, "CREDENTIAL_REQUIRED", "Present a credential").challenge("Bearer");
            }
            credential = bearer.group(1) == null ? "" : bearer.group(1);
        }
        if (!TOKEN.matcher(credential).matches()) {
            throw Refusal.invalid();
        }
        return credential;
    }

    private static List<String> values(HttpServletRequest request, String header) {
        return new ArrayList<>(Collections.list(request.getHeaders(header)));
    }

    /**
     * The client's address as the container knows it: the connection's, unless the container takes the
     * word of a proxy that it was told to trust (Tomcat's RemoteIpValve). Without an address, what is
     * bound to networks is not let through.
     */
    private static String address(HttpServletRequest request) {
        String address = request.getRemoteAddr();
        return address == null ? "" : ZONE.matcher(address).replaceFirst("");
    }

    /** A failed question is never a 401: nothing was said of the credential. */
    private static Refusal refusal(StatusRuntimeException failed) {
        LOG.log(Level.WARNING, "the authority could not be asked: {0}", failed.getStatus().getCode());
        return switch (failed.getStatus().getCode()) {
            case UNAUTHENTICATED, PERMISSION_DENIED ->
                new Refusal(SC_INTERNAL_SERVER_ERROR, "AUTHORITY_REFUSED", "The request cannot be judged");
            default -> Refusal.unavailable(retryAfter(failed));
        };
    }

    /** What the authority asks for (google.rpc.RetryInfo), in whole seconds from 1. */
    private static long retryAfter(StatusRuntimeException failed) {
        var status = StatusProto.fromThrowable(failed);
        if (status != null) {
            for (var detail : status.getDetailsList()) {
                if (detail.is(RetryInfo.class)) {
                    try {
                        var delay = detail.unpack(RetryInfo.class).getRetryDelay();
                        return Math.max(1, delay.getSeconds() + (delay.getNanos() > 0 ? 1 : 0));
                    } catch (com.google.protobuf.InvalidProtocolBufferException unreadable) {
                        return 1;
                    }
                }
            }
        }
        return 1;
    }
}
