package mesh_test

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// TestPreviousPriorities has further attempts of a call leave the priorities that others
// went to (row Z1), of one cluster or of several in a row: by default none does while the
// first priority is healthy.
func TestPreviousPriorities(t *testing.T) {
	const leave = ", previousPriorities: "
	eachProtocol(t, func(t *testing.T, p protocol) {
		for name, c := range map[string]struct {
			service string // fields
			retry   string
			good    int // the one priority of three that answers
			want    string
		}{
			"by default":      {"", "attempts: 2", 1, "0 0"},
			"each attempt":    {"", "attempts: 4" + leave + "{}", 1, "0 1"},
			"further":         {"", "attempts: 4" + leave + "{}", 2, "0 1 2"},
			"every second":    {"", "attempts: 5" + leave + "{updateFrequency: 2}", 2, "0 0 1 1 2"},
			"all over again":  {"", "attempts: 5" + leave + "{}", 3, "0 1 2 0 1"},
			"hosts again":     {"", "attempts: 4, previousHosts: false" + leave + "{}", 1, "0 1"},
			"by hash":         {"balance: {policy: ring_hash}, ", "attempts: 2" + leave + "{}", 1, "0 0"},
			"first endpoint":  {"balance: {policy: pick_first}, ", "attempts: 4" + leave + "{}", 2, "0 1 2"},
			"hedges":          {"", "attempts: 3" + leave + "{}}, hedge: {delay: 1h", 2, "0 1 2"},
			"other clusters":  {"failover", "attempts: 4" + leave + "{}", 2, "0 1 2"},
			"clusters, again": {"failover", "attempts: 5" + leave + "{}", 3, "0 1 2 0 1"},
		} {
			t.Run(name, func(t *testing.T) {
				var endpoints [3][]string
				tried := make(chan string, 10)
				for priority := range endpoints {
					for range 2 {
						b := p.scripted(t, "b", func(int) act {
							tried <- fmt.Sprint(priority)
							if priority == c.good {
								return act{}
							}
							return act{fail: codes.Unavailable}
						})
						of := priority
						if c.service == "failover" {
							of = 0
						}
						endpoints[priority] = append(endpoints[priority], fmt.Sprintf("{address: %q, priority: %d}", b.Addr, of))
					}
				}
				services := fmt.Sprintf("  orders: {protocol: %s, "+inTime+", %sendpoints: [%s, %s, %s]}\n", p.name, c.service,
					strings.Join(endpoints[0], ", "), strings.Join(endpoints[1], ", "), strings.Join(endpoints[2], ", "))
				if c.service == "failover" {
					services = "  orders: {failover: [a0, a1, a2]}\n"
					for i, list := range endpoints {
						services += fmt.Sprintf("  a%d: {protocol: %s, "+inTime+", endpoints: [%s]}\n", i, p.name, strings.Join(list, ", "))
					}
				}
				m := meshtest.New(t, mesh.WithPolicy([]byte("services:\n"+services+
					"routes:\n  orders:\n    - {to: orders, retry: {on: [gateway-error, unavailable], backOff: {baseInterval: 1ms}, "+c.retry+"}}\n")))
				_, err := p.client(t, m, "orders")(within(t, long), request{})
				close(tried)
				var got []string
				for priority := range tried {
					got = append(got, priority)
				}
				if got := strings.Join(got, " "); got != c.want {
					t.Errorf("attempts at priorities %s, want %s", got, c.want)
				}
				if answered := strings.HasSuffix(c.want, fmt.Sprint(c.good)); (err == nil) != answered {
					t.Errorf("%v; want an answer: %v", err, answered)
				}
			})
		}
	})
}
