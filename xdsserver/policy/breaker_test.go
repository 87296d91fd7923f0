package policy

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestBreakerErrors says what is wrong with breakers, and where.
func TestBreakerErrors(t *testing.T) {
	_, err := Parse("p.yaml", []byte(`services:
  a:
    endpoints: []
    breaker: {}
  b:
    endpoints: []
    breaker:
      endpoint: {consecutiveFailures: 0, failurePercent: 0%, interval: 99ms, openTime: 0s, probes: 0}
      cluster: {minimumRequests: 5, interval: 10s, openTim: 1s}
  c:
    failover: [a]
    breaker: {endpoint: {}}
`))
	want := []string{
		`4:5: the breaker says nothing of what it is for: endpoint or cluster`,
		`8:39: consecutiveFailures is 0: at least 1`,
		`8:58: failurePercent is 0%: every failure would open the breaker; consecutiveFailures: 1 does`,
		`8:72: 99ms: it must be at least 100ms`,
		`8:88: 0s: it must be at least 1ms`,
		`8:100: probes is 0: at least 1`,
		`9:17: "minimumRequests" is for failurePercent only`,
		`9:37: "interval" is for failurePercent only`,
		`9:52: unknown field "openTim" (did you mean "openTime"?)`,
		`12:5: "breaker" cannot stand beside "failover": it is for the services that this one is made of`,
	}
	if err == nil {
		t.Fatal("no error")
	}
	if diff := cmp.Diff("p.yaml:"+strings.Join(want, "\np.yaml:"), err.Error()); diff != "" {
		t.Errorf("errors (-want +got):\n%s", diff)
	}
}
