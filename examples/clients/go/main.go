// Two routes that need a scope, one that needs a credential alone, and one open
// to all. Settings come from the environment: AUTHORITY_URL,
// AUTHORITY_CREDENTIAL_FILE, AUTHORITY_CA_FILE (for https, where the system's
// authorities are not meant), LISTEN.
package main

import (
	"cmp"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"token-authority/introspect"
)

//go:generate buf generate

func main() {
	if err := serve(); err != nil {
		log.Fatal(err)
	}
}

func serve() error {
	credential, err := os.ReadFile(os.Getenv("AUTHORITY_CREDENTIAL_FILE"))
	if err != nil {
		return err
	}
	authorities, err := readAuthorities(os.Getenv("AUTHORITY_CA_FILE"))
	if err != nil {
		return err
	}
	introspector, err := introspect.Dial(os.Getenv("AUTHORITY_URL"), strings.TrimSpace(string(credential)), authorities)
	if err != nil {
		return err
	}
	defer introspector.Close()

	listener, err := net.Listen("tcp", cmp.Or(os.Getenv("LISTEN"), "127.0.0.1:8000"))
	if err != nil {
		return err
	}
	fmt.Println("listening on", listener.Addr())
	server := http.Server{Handler: routes(introspector), ReadHeaderTimeout: 10 * time.Second}
	return server.Serve(listener)
}

func routes(introspector *introspect.Introspector) http.Handler {
	anybody := introspector.Require()
	readers := introspector.Require("trading:read")
	writers := introspector.Require("signals:write")

	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]any{"status": "ok"})
	})
	mux.Handle("GET /api/v1/me", anybody(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		subject := introspect.Subject(r.Context())
		answer(w, http.StatusOK, map[string]any{
			"account": subject.GetAccountId(), "token": subject.GetTokenId(), "scopes": subject.GetScopes(),
		})
	})))
	mux.Handle("GET /api/v1/trades", readers(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		account := introspect.Subject(r.Context()).GetAccountId()
		answer(w, http.StatusOK, map[string]any{"account": account, "trades": []any{}})
	})))
	mux.Handle("POST /api/v1/signals/ingest", writers(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var signal map[string]any
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&signal); err != nil {
			answer(w, http.StatusBadRequest, map[string]any{"error": "not a JSON object", "code": "INVALID_BODY"})
			return
		}
		account := introspect.Subject(r.Context()).GetAccountId()
		answer(w, http.StatusOK, map[string]any{"account": account, "accepted": len(signal)})
	})))
	return mux
}

func answer(w http.ResponseWriter, status int, body map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// readAuthorities from a file in PEM; nil without one.
func readAuthorities(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New(file + " holds no certificate")
	}
	return pool, nil
}
