// Package introspect protects net/http handlers by asking token-authority on
// every request.
//
//	introspector, err := introspect.Dial("http://127.0.0.1:50051", credential, nil)
//	http.Handle("GET /trades", introspector.Require("trading:read")(trades))
//
// and in the handler:
//
//	account := introspect.Subject(request.Context()).GetAccountId()
//
// Whatever the authority does not clearly allow is refused.
package introspect

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "token-authority/gen/go/token_authority/v1"
)

// Deadline is for one request, however often the authority is asked for it.
const Deadline = 2 * time.Second

// Only what certainly had no effect is tried again, and never without end: three
// attempts within the deadline, and fewer while most of them fail.
const serviceConfig = `{
  "methodConfig": [{
    "name": [{"service": "token_authority.v1.TokenAuthorityService", "method": "Introspect"}],
    "retryPolicy": {
      "maxAttempts": 3,
      "initialBackoff": "0.05s",
      "maxBackoff": "0.5s",
      "backoffMultiplier": 2,
      "retryableStatusCodes": ["UNAVAILABLE"]
    }
  }],
  "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1}
}`

// Introspector asks the authority. It is safe for use by many at once.
type Introspector struct {
	connection    *grpc.ClientConn
	client        pb.TokenAuthorityServiceClient
	authorization string
}

// Dial makes one that asks the authority at address, http://HOST:PORT or
// https://HOST:PORT, as whoever holds credential. It connects with the first
// question. authorities are those believed for https; nil means the system's.
func Dial(address, credential string, authorities *x509.CertPool) (*Introspector, error) {
	target, err := url.Parse(address)
	if err != nil || target.Hostname() == "" {
		return nil, errors.New("the authority's URL looks like https://HOST:PORT or http://HOST:PORT")
	}
	port, transport := target.Port(), insecure.NewCredentials()
	switch {
	case target.Scheme == "https":
		transport = credentials.NewTLS(&tls.Config{RootCAs: authorities, MinVersion: tls.VersionTLS12})
		port = orElse(port, "443")
	case target.Scheme == "http":
		port = orElse(port, "80")
	default:
		return nil, fmt.Errorf("no authority is asked by %q", target.Scheme)
	}
	connection, err := grpc.NewClient("dns:///"+net.JoinHostPort(target.Hostname(), port),
		grpc.WithTransportCredentials(transport),
		grpc.WithDefaultServiceConfig(serviceConfig),
		// A server that came back is found again soon, and one that fell silent is noticed.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: 20 * time.Second, Timeout: 5 * time.Second, PermitWithoutStream: true,
		}),
	)
	if err != nil {
		return nil, err
	}
	return &Introspector{connection, pb.NewTokenAuthorityServiceClient(connection), "Bearer " + credential}, nil
}

// Close ends the connection.
func (i *Introspector) Close() error { return i.connection.Close() }

type subjectKey struct{}

// Subject is for whom the request was let through; nil where nobody was asked.
func Subject(ctx context.Context) *pb.IntrospectResponse {
	subject, _ := ctx.Value(subjectKey{}).(*pb.IntrospectResponse)
	return subject
}

// Require lets requests through whose credential holds all of these scopes.
func (i *Introspector) Require(scopes ...string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			subject, refusal := i.admit(r, scopes)
			if refusal != nil {
				refusal.write(w)
				return
			}
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), subjectKey{}, subject)))
		})
	}
}

func (i *Introspector) admit(r *http.Request, scopes []string) (*pb.IntrospectResponse, *refusal) {
	credential, refused := credentialOf(r)
	if refused != nil {
		return nil, refused
	}
	ctx, cancel := context.WithTimeout(r.Context(), Deadline)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", i.authorization)
	answer, err := i.client.Introspect(ctx, &pb.IntrospectRequest{
		Token: credential, RequiredScopes: scopes, ClientIp: addressOf(r),
	})
	if err != nil {
		return nil, refusalOf(err)
	}
	switch verdict := answer.GetVerdict(); {
	case verdict == pb.Verdict_VERDICT_ALLOWED && answer.GetActive() &&
		answer.GetAccountId() != "" && len(answer.GetMissingScopes()) == 0:
		return answer, nil
	case verdict == pb.Verdict_VERDICT_UNAUTHENTICATED && !answer.GetActive():
		return nil, invalid()
	case verdict == pb.Verdict_VERDICT_INSUFFICIENT_SCOPE && answer.GetActive():
		challenge := fmt.Sprintf(`Bearer error="insufficient_scope", scope="%s"`, strings.Join(scopes, " "))
		return nil, challenged(http.StatusForbidden, "INSUFFICIENT_SCOPE", "Insufficient scope", challenge)
	}
	slog.ErrorContext(ctx, "the authority's answer contradicts itself")
	return nil, unavailable(1)
}

// longest of what can be a credential, in bytes.
const longest = 4096

var (
	// What a credential can look like at all: visible ASCII.
	token  = regexp.MustCompile(`^[!-~]+$`)
	bearer = regexp.MustCompile(`(?i)^bearer(?: +(.*))?$`)
)

// credentialOf finds the one credential that was presented (RFC 6750, section 2.1).
func credentialOf(r *http.Request) (string, *refusal) {
	bearers, keys := r.Header.Values("Authorization"), r.Header.Values("X-Api-Key")
	if len(bearers)+len(keys) > 1 {
		// RFC 6750, section 2: not more than one method. Which one to believe is not ours to guess.
		return "", challenged(http.StatusUnauthorized,
			"SEVERAL_CREDENTIALS", "Present one credential", `Bearer error="invalid_request"`)
	}
	var credential string
	if len(keys) == 1 {
		credential = keys[0]
	} else if len(bearers) == 1 && bearer.MatchString(bearers[0]) {
		credential = bearer.FindStringSubmatch(bearers[0])[1]
	} else {
		return "", challenged(http.StatusUnauthorized, "CREDENTIAL_REQUIRED", "Present a credential", "Bearer")
	}
	if len(credential) > longest || !token.MatchString(credential) {
		return "", invalid()
	}
	return credential, nil
}

// addressOf is the address of the connection, never what a header says. Where a
// proxy is in front, put a handler before this one that sets RemoteAddr from what
// that proxy, and nobody else, vouches for. Without an address, what is bound to
// networks is not let through.
func addressOf(r *http.Request) string {
	address, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	return address.Addr().WithZone("").String()
}

// refusalOf a failed question is never a 401: nothing was said of the credential.
func refusalOf(err error) *refusal {
	failed := status.Convert(err)
	slog.Warn("the authority could not be asked", "code", failed.Code().String())
	switch failed.Code() {
	case codes.Unauthenticated, codes.PermissionDenied:
		return &refusal{
			status: http.StatusInternalServerError, code: "AUTHORITY_REFUSED", message: "The request cannot be judged",
		}
	}
	return unavailable(retryAfter(failed))
}

// retryAfter is what the authority asks for (google.rpc.RetryInfo), in whole seconds from 1.
func retryAfter(failed *status.Status) int64 {
	for _, detail := range failed.Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok {
			delay := info.GetRetryDelay().AsDuration()
			return max(1, int64((delay+time.Second-1)/time.Second))
		}
	}
	return 1
}

func orElse(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}
