package resilience

import (
	"net/textproto"
	"strconv"
	"testing"
)

// TestPasses has every token look at answers of every status: what passes is not retried, and
// a success of which the headers say nothing passes unless a token asks for more.
func TestPasses(t *testing.T) {
	answers := []header{{}, {"x-again": "1"}, {"x-envoy-ratelimited": "1"}}
	for code := range 17 {
		answers = append(answers, header{"grpc-status": strconv.Itoa(code)})
	}
	for token, on := range Tokens {
		c := Conditions{On: on, StatusCodes: []uint32{201, 418}, Response: func(_ int, h Headers) bool {
			_, ok := h.Header("x-again")
			return ok
		}}
		for status := range 600 {
			for _, h := range answers {
				canonical := textproto.MIMEHeader{}
				for name, value := range h {
					canonical.Set(name, value)
				}
				if c.Passes(status, canonical) && c.Retries(&Result{Status: status, Headers: h}) {
					t.Errorf("%s: %d %v passes and is retried", token, status, h)
				}
			}
		}
		asks := on&(OnRetriableHeaders|OnRetriableStatusCodes|OnEnvoyRateLimited) != 0
		if c.Passes(200, nil) == asks {
			t.Errorf("%s: 200 passes: %v", token, !asks)
		}
	}
}
