package mesh

import (
	"net/http"

	"github.com/weft-mesh/weft/balancer"
)

// immediateFail is the header by which an endpoint says in any answer that it is
// going to fail its health checks, so that nobody waits for them (Envoy's
// x-envoy-immediate-health-check-fail). gRPC calls do not look for it: their headers
// are read only where policy changes them.
const immediateFail = "X-Envoy-Immediate-Health-Check-Fail"

// heed takes in what an answer says of the health of its endpoint, which is checked.
func heed(e *balancer.Endpoint, resp *http.Response) {
	if _, ok := resp.Header[immediateFail]; ok {
		e.FailHealthCheck()
	}
}
