package envoy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protojson"
)

// limitCase has calls begin one after another, each when the one before is held, has
// ended, or waits for a connection; then all are let go on.
type limitCase struct {
	name    string
	only    string // protocols, all if empty
	limits  string // CircuitBreakers
	route   string // a RouteAction
	scripts []script
}

var (
	holding  = act{Kind: holds, Status: 200}
	tryAgain = `{"retry_policy": {"retry_on": "5xx,unavailable", "num_retries": 3, ` + fast + `}}`
)

// TestLimits expects Weft to let in what Envoy lets in, and to refuse what it refuses.
func TestLimits(t *testing.T) {
	failed := again(1, unavailable, holding)
	compareLimits(t, nil, []limitCase{
		{"max_requests", "", `{"thresholds": [{"max_requests": 2}]}`, `{}`, slices.Repeat([]script{{holding}}, 4)},
		{"max_requests 0", "", `{"thresholds": [{"max_requests": 0}]}`, `{}`, []script{{holding}}},
		{"max_requests, and retries", "", `{"thresholds": [{"max_requests": 1}]}`, tryAgain, []script{failed, failed, {ok}}},
		{"max_requests of the other priority", "", `{"thresholds": [{"priority": "HIGH", "max_requests": 1}]}`, `{}`, []script{{holding}, {holding}, {holding}}},
		{"max_requests of high priority", "", `{"thresholds": [{"max_requests": 0}, {"priority": "HIGH", "max_requests": 1}]}`, `{"priority": "HIGH"}`, []script{{holding}, {holding}, {holding}}},
		{"max_retries", "", `{"thresholds": [{"max_retries": 2}]}`, tryAgain, []script{failed, failed, failed, failed}},
		{"max_retries by default", "", `{}`, tryAgain, slices.Repeat([]script{failed}, 5)},
		{"max_retries 0", "", `{"thresholds": [{"max_retries": 0}]}`, tryAgain, []script{failed, {ok}}},
		{"max_retries of high priority", "", `{"thresholds": [{"max_retries": 0}]}`, strings.Replace(tryAgain, "{", `{"priority": "HIGH", `, 1), []script{failed, failed, failed, failed}},
		{"max_retries, one ends", "", `{"thresholds": [{"max_retries": 1}]}`, tryAgain, []script{again(1, unavailable, ok), failed, again(1, unavailable, ok)}},
		{"max_retries, in the second retry", "", `{"thresholds": [{"max_retries": 1}]}`, tryAgain, []script{again(2, unavailable, holding), again(2, unavailable, holding)}},
		{"retry_budget by default", "", `{"thresholds": [{"retry_budget": {}}]}`, tryAgain, slices.Repeat([]script{failed}, 5)},
		{"retry_budget without a minimum", "", `{"thresholds": [{"retry_budget": {"min_retry_concurrency": 0}}]}`, tryAgain, []script{failed, failed}},
		{"retry_budget of half", "http1 http2", `{"thresholds": [{"retry_budget": {"budget_percent": {"value": 50}, "min_retry_concurrency": 1}}]}`, tryAgain,
			[]script{{holding}, {holding}, {holding}, failed, failed, failed, failed, failed, failed}},
		{"retry_budget of all", "http1 http2", `{"thresholds": [{"retry_budget": {"budget_percent": {"value": 100}, "min_retry_concurrency": 0}}]}`, tryAgain,
			[]script{failed, failed, {holding}, failed, failed}},
		{"retry_budget and max_retries", "", `{"thresholds": [{"max_retries": 0, "retry_budget": {"min_retry_concurrency": 1}}]}`, tryAgain, []script{failed, failed}},
		{"hedges are retries", "", `{"thresholds": [{"max_retries": 1}]}`, `{"hedge_policy": {"hedge_on_per_try_timeout": true}, "retry_policy": {"retry_on": "5xx", ` + inTime + `, ` + fast + `}}`,
			[]script{{silent, holding}, {{Kind: holds, Status: 200}}}},
		{"max_connections", "http1", `{"thresholds": [{"max_connections": 1}]}`, `{}`, []script{{holding}, {ok}, {ok}}},
		{"max_connections, max_pending_requests", "http1", `{"thresholds": [{"max_connections": 1, "max_pending_requests": 1}]}`, `{}`, []script{{holding}, {ok}, {ok}, {ok}}},
		{"max_connections, max_pending_requests 0", "http1", `{"thresholds": [{"max_connections": 1, "max_pending_requests": 0}]}`, `{}`, []script{{ok}, {ok}}},
		{"max_connections of HTTP/2", "http2 grpc", `{"thresholds": [{"max_connections": 1, "max_pending_requests": 1}]}`, `{}`, []script{{holding}, {holding}, {ok}}},
		{"max_connections 2", "http1", `{"thresholds": [{"max_connections": 2, "max_pending_requests": 1}]}`, `{}`, []script{{holding}, {holding}, {ok}, {ok}}},
		{"max_connections of the other priority", "http1", `{"thresholds": [{"priority": "HIGH", "max_connections": 1}]}`, `{}`, []script{{holding}, {holding}}},
		{"overflow is never tried again", "", `{"thresholds": [{"max_requests": 0}]}`, tryAgain, []script{{ok}}},
	})
}

// compareLimits plays cases on both sides, and expects the same. above are the
// CircuitBreakers of aggregates, by the names of cases: their calls go to an aggregate that
// the cluster is all of.
func compareLimits(t *testing.T, above map[string]string, cases []limitCase) {
	t.Helper()
	for _, protocol := range []string{"http1", "http2", "grpc"} {
		t.Run(protocol, func(t *testing.T) {
			var list []limitCase
			for _, c := range cases {
				if c.only == "" || slices.Contains(strings.Fields(c.only), protocol) {
					list = append(list, c)
				}
			}
			l := newLanes(t, protocol == "grpc", len(list), 1)
			l.ruleOf = func(lane int) laneRule {
				a := new(routev3.RouteAction)
				if err := protojson.Unmarshal([]byte(list[lane].route), a); err != nil {
					t.Fatalf("%s: %v", list[lane].name, err)
				}
				return laneRule{action: a}
			}
			l.above = func(lane int, c *clusterv3.Cluster) *clusterv3.Cluster {
				limits := above[list[lane].name]
				if limits == "" {
					return nil
				}
				all := aggregateOf(t, c)
				all.CircuitBreakers = new(clusterv3.CircuitBreakers)
				if err := protojson.Unmarshal([]byte(limits), all.CircuitBreakers); err != nil {
					t.Fatalf("%s: %v", list[lane].name, err)
				}
				return all
			}
			l.applyRules(t, protocol != "http1", []laneRule{{}}, func(lane int, c *clusterv3.Cluster, _ *endpointv3.ClusterLoadAssignment) {
				c.CircuitBreakers = new(clusterv3.CircuitBreakers)
				if err := protojson.Unmarshal([]byte(list[lane].limits), c.CircuitBreakers); err != nil {
					t.Fatalf("%s: %v", list[lane].name, err)
				}
			})
			var reports [2][]string
			for i, s := range l.sides() {
				reports[i] = l.crowd(t, s, list)
			}
			for lane, c := range list {
				want, got := reports[0][lane], reports[1][lane]
				if want != got && strings.Contains(want+got, waits) { // or is late
					t.Logf("once more, as time may have been short: %s: %s, Envoy:\n%s\nWeft:\n%s", c.name, c.limits, want, got)
					want, got = l.crowdOne(t, l.envoy, lane, c.scripts, long/4), l.crowdOne(t, l.weft, lane, c.scripts, long/4)
				}
				if want != got {
					t.Errorf("%s: %s, Envoy:\n%s\nWeft:\n%s", c.name, c.limits, want, got)
				}
			}
		})
	}
}

// crowd plays all cases on one side, each on its lane, and tells what became of the calls.
func (l *lanes) crowd(t *testing.T, s *side, list []limitCase) []string {
	reports := make([]string, len(list))
	done := make(chan struct{})
	for lane, c := range list {
		go func() {
			reports[lane] = l.crowdOne(t, s, lane, c.scripts, 2*time.Second)
			done <- struct{}{}
		}()
	}
	for range list {
		<-done
	}
	return reports
}

// waits is said of a call that neither comes to a backend nor ends.
const waits = "waits"

// crowdOne plays one. A call that is neither held nor over after some time waits for a
// connection.
func (l *lanes) crowdOne(t *testing.T, s *side, lane int, scripts []script, after time.Duration) string {
	return l.crowdHeld(t, s, lane, scripts, after, 0)
}

// crowdHeld holds what is held for some time more when all have begun.
func (l *lanes) crowdHeld(t *testing.T, s *side, lane int, scripts []script, after, more time.Duration) string {
	var plays []*play
	var ends []chan string
	var b strings.Builder
	for _, sc := range scripts {
		id, p := l.open(s, sc)
		end := make(chan string, 1)
		go func() {
			got, err := l.performAs(t, s, lane, performance{script: sc, request: request{method: "GET"}}, id, p)
			end <- fmt.Sprint(got.Final, " ", got.Body, ", ", len(got.Attempts), " attempts ", err)
		}()
		over := time.NewTimer(after)
		state := make(chan bool, 1)
		go func() {
			state <- p.wait(t.Context().Done(), func(list []attempt) bool {
				return len(list) > 0 && list[len(list)-1].held && !list[len(list)-1].over
			})
		}()
		select {
		case <-state:
			fmt.Fprintln(&b, "held")
		case text := <-end:
			fmt.Fprintln(&b, text)
			end <- text
		case <-over.C:
			fmt.Fprintln(&b, waits)
		}
		over.Stop()
		plays, ends = append(plays, p), append(ends, end)
	}
	<-time.After(more)
	for _, p := range plays {
		close(p.free)
	}
	for _, end := range ends {
		fmt.Fprintln(&b, <-end)
	}
	return b.String()
}
