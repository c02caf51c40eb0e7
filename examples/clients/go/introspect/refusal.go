package introspect

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// refusal is what a request is answered with that is not let through.
type refusal struct {
	status        int
	code, message string
	challenge     string
	retryAfter    int64
}

func challenged(status int, code, message, challenge string) *refusal {
	return &refusal{status: status, code: code, message: message, challenge: challenge}
}

func invalid() *refusal {
	return challenged(http.StatusUnauthorized,
		"CREDENTIAL_INVALID", "The credential is not good", `Bearer error="invalid_token"`)
}

func unavailable(seconds int64) *refusal {
	return &refusal{
		status: http.StatusServiceUnavailable, code: "AUTHORITY_UNAVAILABLE",
		message: "The request cannot be judged now", retryAfter: seconds,
	}
}

func (r *refusal) write(w http.ResponseWriter) {
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Cache-Control", "no-store")
	if r.challenge != "" {
		header.Set("WWW-Authenticate", r.challenge)
	}
	if r.retryAfter > 0 {
		header.Set("Retry-After", strconv.FormatInt(r.retryAfter, 10))
	}
	w.WriteHeader(r.status)
	// Whoever does not wait for it does not need it.
	_ = json.NewEncoder(w).Encode(map[string]string{"error": r.message, "code": r.code})
}
