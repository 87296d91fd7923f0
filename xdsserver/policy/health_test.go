package policy

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestHealthErrors says everything that is wrong with health checks and outlier
// detection, each at its place.
func TestHealthErrors(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       []string
	}{
		{"checks", `services:
  a:
    endpoints: [{address: "192.0.2.1:1", healthCheckPort: 0}, {address: "192.0.2.2:1", healthCheckPort: 65536}]
    healthChecks:
    - {}
    - {http: /, tcp: {}}
    - {http: x}
    - {http: {path: "/ x", host: a/b, method: CONNECT, headers: {"a b": c}, expectedStatuses: [99, 600]}}
    - {grpc: {authority: a|b}}
    - {tcp: {send: x}}
    - {tcp: {receive: [""]}}
    - {tcp: {}, interval: 0s, timeout: 0s, unhealthyThreshold: 0, healthyThreshold: 0, intervalJitter: -1s, noTrafficInterval: 0s}
    - {htttp: /}
`, []string{
			`3:59: 0 is not a port`,
			`3:105: 65536 is not a port`,
			`5:7: the check says nothing of how: one of http, grpc and tcp`,
			`6:17: "tcp" cannot stand beside "http"`,
			`7:14: bad path "x": want one such as /healthz`,
			`8:21: bad path "/ x": want one such as /healthz`,
			`8:34: "a/b" is not a host`,
			`8:47: "CONNECT" is not one of GET, HEAD, POST, OPTIONS`,
			`8:66: "a b" is not the name of a header`,
			`8:96: 99 is not a status: 100 to 599`,
			`8:100: 600 is not a status: 100 to 599`,
			`9:26: "a|b" is not a host`,
			`10:14: nothing is sent without "receive"`,
			`11:24: an empty text is always received`,
			`12:27: 0s: it must be greater than zero`,
			`12:40: 0s: it must be greater than zero`,
			`12:64: unhealthyThreshold is 0: at least 1`,
			`12:85: healthyThreshold is 0: at least 1`,
			`12:104: bad duration "-1s": it is negative`,
			`12:128: 0s: it must be greater than zero`,
			`13:8: unknown field "htttp" (did you mean "http"?)`,
		}},
		{"outliers", `services:
  a:
    endpoints: []
    outlierDetection: {maxEjectionTime: 1s, maxEjectionTimeJitter: -1s, enforcingSuccessRate: 101, failurePercentageThreshold: 101, consecutiveLocalOriginFailure: 1}
`, []string{
			`4:41: maxEjectionTime is 1s, less than baseEjectionTime, 30s`,
			`4:68: bad duration "-1s": it is negative`,
			`4:95: enforcingSuccessRate is 101: at most 100`,
			`4:128: failurePercentageThreshold is 101: at most 100`,
			`4:133: "consecutiveLocalOriginFailure" counts only with splitExternalLocalOriginErrors: true`,
		}},
	} {
		_, err := Parse("p.yaml", []byte(test.text))
		if err == nil {
			t.Errorf("%s: no error", test.name)
			continue
		}
		if diff := cmp.Diff("p.yaml:"+strings.Join(test.want, "\np.yaml:"), err.Error()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}
