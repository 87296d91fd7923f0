package envoy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/mesh"
)

// lanes are virtual hosts with the same routes, each with a cluster and backends of its
// own: what waits on one does not hold up the others, and no call comes between the attempts of
// another.
type lanes struct {
	*pair
	stage  *stage
	actors [][]*actor              // by lane
	ruleOf func(lane int) laneRule // of lanes whose rules differ; nil for that they do not
	// above returns a cluster that the routes of a lane lead to in place of the lane's own;
	// nil for none.
	above func(lane int, c *clusterv3.Cluster) *clusterv3.Cluster
	// keptBack is what Envoy says of calls that a filter keeps back, as Weft says of all limits.
	keptBack string
	calls    atomic.Int64
}

// newLanes has n lanes of some backends each.
func newLanes(t *testing.T, grpc bool, n, backends int) *lanes {
	t.Helper()
	return setup{}.lanes(t, grpc, n, backends)
}

func (s setup) lanes(t *testing.T, grpc bool, n, backends int) *lanes {
	t.Helper()
	l := &lanes{stage: newStage()}
	var hosts []string
	for i := range n {
		hosts = append(hosts, laneHost(i))
		var list []*actor
		for j := range backends {
			list = append(list, newActor(t, l.stage, fmt.Sprintf("b%d-%d", i, j)))
		}
		l.actors = append(l.actors, list)
	}
	l.pair = s.pair(t, grpc, hosts...)
	l.weft.refused = func(a *answer, err error) {
		if err != nil {
			a.Refused = weftFinal(err)
		}
	}
	return l
}

func laneHost(i int) string { return fmt.Sprint("lane", i) }

// laneRule is the route of some calls, which all lanes have.
type laneRule struct {
	action *routev3.RouteAction // its cluster is the lane's
	host   *routev3.VirtualHost // what is to be said of its virtual host; nil for nothing
}

// rulePath is where the calls of the n-th rule go.
func rulePath(n int, pace pace) string { return fmt.Sprintf("/oracle.Rule%d.%d/Call", n, pace) }

// apply has both go by rules. Rules whose virtual hosts differ need a call of apply each.
// tune is told of each lane's cluster and may be nil.
func (l *lanes) applyRules(t *testing.T, http2 bool, rules []laneRule, tune func(lane int, c *clusterv3.Cluster, a *endpointv3.ClusterLoadAssignment)) {
	t.Helper()
	p := &policy{routes: &routev3.RouteConfiguration{Name: routesName}}
	for i, actors := range l.actors {
		h := &routev3.VirtualHost{}
		if rules[0].host != nil {
			h = proto.Clone(rules[0].host).(*routev3.VirtualHost)
		}
		h.Name, h.Domains = laneHost(i), []string{laneHost(i)}
		var endpoints []*endpointv3.LbEndpoint
		for _, a := range actors {
			endpoints = append(endpoints, a.endpoint(t))
		}
		name := fmt.Sprintf("c%d-%d", i, l.applied)
		c := p.cluster(t, name, http2, endpoints...)
		if tune != nil {
			tune(i, c, p.endpoints[len(p.endpoints)-1])
		}
		if l.above != nil {
			if all := l.above(i, c); all != nil {
				p.clusters = append(p.clusters, all)
				name = all.GetName()
			}
		}
		for n, r := range rules {
			if l.ruleOf != nil {
				r = l.ruleOf(i)
			}
			for _, pace := range []pace{usual, unhurried} {
				a := proto.CloneOf(r.action)
				a.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: name}
				pace.stretch(a)
				h.Routes = append(h.Routes, &routev3.Route{
					Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Path{Path: rulePath(n, pace)}},
					Action: &routev3.Route_Route{Route: a},
				})
			}
		}
		p.routes.VirtualHosts = append(p.routes.VirtualHosts, h)
	}
	if !l.apply(t, p) {
		t.Fatalf("both refuse it: %v\n%s", l.rejections(), describe(p.routes))
	}
}

// performance is a call of a rule, and what comes of its attempts.
type performance struct {
	rule    int
	script  script
	request request       // its host and path are the lane's and the rule's
	timeout time.Duration // the caller's; zero for long
	note    func([]attempt) string
	any     bool // which of the attempts the answer is of is for them to know
	timed   bool // time has a say in what comes of it
	pace    pace // usual if zero
}

// result is what is compared of a call with attempts.
type result struct {
	Final string // an HTTP status, a gRPC code, or why there is none
	// Body is the answer's, which says of which attempt it is.
	Body     string
	Count    string // x-envoy-attempt-count of the answer
	Attempts []attempt
	// Note is what a performance has to say of the attempts.
	Note string
	// Late says that it took longer than any time that policies here allow.
	Late bool
}

// What Final is where no backend answered.
const (
	finalReset    = "the connection or stream was lost"
	finalConnect  = "no connection"
	finalTimeout  = "time was up"
	finalOverflow = "over a limit"
)

var finals = []string{finalReset, finalConnect, finalTimeout, finalOverflow}

// exchange makes a call and returns what came of it, but for the attempts.
func (l *lanes) exchange(ctx context.Context, s *side, r request) result {
	if l.grpc {
		return l.exchangeGRPC(ctx, s, r)
	}
	a := s.callHTTP(ctx, r)
	switch {
	case a.Refused != "" && a.Status == 0 && !slices.Contains(finals, a.Refused): // in the body
		a.Refused = finalReset
		if ctx.Err() != nil {
			a.Refused = finalTimeout
		}
	case s == l.envoy:
		a.Refused = envoyFinal(a.Refused)
		if a.Body == envoyTimedOut {
			a.Refused = finalTimeout
		}
	}
	if l.keptBack != "" && a.Body == l.keptBack {
		a.Refused = finalOverflow
	}
	got := result{Final: cmp.Or(a.Refused, fmt.Sprint(a.Status)), Body: a.Body, Count: a.Header.Get(countHeader)}
	if a.Refused != "" { // where Weft has no answer to say more in
		got.Body, got.Count = "", ""
	}
	return got
}

const countHeader = "X-Envoy-Attempt-Count"

func (l *lanes) exchangeGRPC(ctx context.Context, s *side, r request) result {
	conn, err := s.conn(r.host)
	if err != nil {
		return result{Final: err.Error()}
	}
	var header, trailer metadata.MD
	reply := new(wrapperspb.StringValue)
	err = conn.Invoke(metadata.AppendToOutgoingContext(ctx, r.header...), r.path, wrapperspb.String(r.body), reply, grpc.Header(&header), grpc.Trailer(&trailer))
	count := strings.Join(append(header.Get(countHeader), trailer.Get(countHeader)...), " ")
	if err == nil {
		return result{Final: codes.OK.String(), Body: reply.GetValue(), Count: count}
	}
	message := status.Convert(err).Message()
	if strings.HasPrefix(message, "attempt ") {
		return result{Final: status.Code(err).String(), Body: message, Count: count}
	}
	if s == l.weft {
		return result{Final: weftFinal(err)}
	}
	flags := ""
	if list := append(header.Get(flagsHeader), trailer.Get(flagsHeader)...); len(list) > 0 {
		flags = list[0]
	}
	if l.keptBack != "" && message == l.keptBack {
		return result{Final: finalOverflow}
	}
	if strings.Contains(message, "HTTP status code") {
		return result{Final: finalReset}
	}
	if strings.Contains(message, envoyTimedOut) || ctx.Err() != nil {
		return result{Final: finalTimeout}
	}
	return result{Final: cmp.Or(envoyFinal(flags), err.Error())}
}

// envoyTimedOut is what Envoy says of max_stream_duration.
const envoyTimedOut = "downstream duration timeout"

// envoyFinal says in words of both sides why Envoy has no answer.
func envoyFinal(flags string) string {
	for flag := range strings.SplitSeq(flags, ",") {
		switch flag {
		case "UO":
			return finalOverflow
		case "UT", "SI", "UMSDR", "DT":
			return finalTimeout
		case "UF":
			return finalConnect
		case "UC", "UR", "UPE":
			return finalReset
		}
	}
	return strings.TrimSuffix(flags, "-")
}

// weftFinal says the same of Weft's errors.
func weftFinal(err error) string {
	switch {
	case errors.Is(err, mesh.ErrOverloaded):
		return finalOverflow
	case errors.Is(err, context.DeadlineExceeded), status.Code(err) == codes.DeadlineExceeded:
		return finalTimeout
	case errors.Is(err, mesh.ErrUnavailable):
		return finalConnect
	}
	return finalReset
}

func (f performance) String() string {
	return fmt.Sprintf("%s %q with %d bytes: %v", f.request.method, f.request.header, len(f.request.body), f.script)
}

// tooLate is far above the times of policies here, and below those that are there by default.
const tooLate = 12 * time.Second

// perform plays on one lane for one side.
func (l *lanes) perform(t *testing.T, s *side, lane int, f performance) (result, error) {
	id, p := l.open(s, f.script)
	return l.performAs(t, s, lane, f, id, p)
}

// open returns the play of a side's next call, by its ID.
func (l *lanes) open(s *side, sc script) (id string, p *play) {
	id = fmt.Sprint(s.name, l.calls.Add(1))
	return id, l.stage.open(id, sc)
}

func (l *lanes) performAs(t *testing.T, s *side, lane int, f performance, id string, p *play) (result, error) {
	r := f.request
	pace := max(f.pace, usual)
	r.host, r.path = laneHost(lane), rulePath(f.rule, pace)
	r.header = append([]string{idHeader, id}, r.header...)
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	calling, stop := context.WithTimeout(ctx, cmp.Or(f.timeout*time.Duration(pace), long))
	defer stop()
	began := time.Now()
	got := l.exchange(calling, s, r)
	got.Late = pace == usual && time.Since(began) > tooLate
	if !p.wait(ctx.Done(), allOver) {
		return result{}, fmt.Errorf("%s leaves attempts: %+v", s.name, p.seen())
	}
	got.Attempts = p.seen()
	if f.any {
		got.Body, got.Count = "", ""
	}
	if f.note != nil {
		got.Note = f.note(got.Attempts)
	}
	return got, nil
}

// compareAll plays all on all lanes, and calls differ where the results do.
func (l *lanes) compareAll(t *testing.T, list []performance, differ func(f performance, diff string)) (results []result) {
	results = make([]result, len(list))
	next := make(chan int)
	var players sync.WaitGroup
	for lane := range l.actors {
		players.Go(func() {
			for i := range next {
				results[i] = l.compareOn(t, lane, list[i], differ)
			}
		})
	}
	for i := range list {
		next <- i
	}
	close(next)
	players.Wait()
	return results
}

// compareOn plays one, and calls differ where the results do. Where time has a say, a
// machine may have been too busy: then it is played again, with more time.
func (l *lanes) compareOn(t *testing.T, lane int, f performance, differ func(f performance, diff string)) result {
	want, diff := l.compareOnce(t, lane, f)
	f.pace = unhurried
	for n := 0; diff != "" && f.timed && n < 3; n++ {
		t.Logf("once more, as time may have been short: %v (-Envoy +Weft):\n%s", f, diff)
		want, diff = l.compareOnce(t, lane, f)
	}
	if diff != "" {
		differ(f, diff)
	}
	return want
}

// compareOnce plays one, and returns Envoy's result and the difference.
func (l *lanes) compareOnce(t *testing.T, lane int, f performance) (want result, diff string) {
	want, err := l.perform(t, l.envoy, lane, f)
	if err != nil {
		return want, err.Error()
	}
	got, err := l.perform(t, l.weft, lane, f)
	if err != nil {
		return want, err.Error()
	}
	return want, gocmp.Diff(want, got, gocmp.Comparer(sameAttempt))
}

// sameAttempt does not look at grpc-previous-rpc-attempts, which Envoy does not send.
func sameAttempt(a, b attempt) bool { return a.Count == b.Count && a.Body == b.Body }

// describeRule shows a rule.
func describeRule(r laneRule) string {
	return protojson.Format(r.action) + " " + protojson.Format(r.host)
}

// text is how an act is shown.
func (a act) String() string {
	s := string(a.Kind)
	if a.Kind == answers || a.Kind == late {
		s = fmt.Sprint(a.Status, " ", a.Code)
	}
	if a.Until > 0 {
		s += fmt.Sprint(" once there are ", a.Until)
	}
	if len(a.Header) > 0 {
		s += fmt.Sprintf(" %q", a.Header)
	}
	return s
}
