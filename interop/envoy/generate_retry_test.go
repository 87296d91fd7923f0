package envoy

import (
	"slices"
	"strconv"
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// perTry is longer than an answer takes that comes at once, on a busy machine.
const perTry = 300 * time.Millisecond

// retryGenerator makes up retry policies, and scripts that meet them.
type retryGenerator struct {
	*generator
	http2 bool
}

func (g *retryGenerator) some(n int, words ...string) []string {
	var list []string
	for _, i := range g.Perm(len(words))[:g.IntN(n+1)] {
		list = append(list, words[i])
	}
	return list
}

// tokens are all of retry_on that a client has a use for, but what is of HTTP/3.
var (
	httpTokens = []string{"5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "envoy-ratelimited",
		"retriable-4xx", "refused-stream", "retriable-status-codes", "retriable-headers"}
	grpcTokens = []string{"cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"}
)

func (g *retryGenerator) rule() laneRule {
	var on []string
	if g.grpc {
		on = append(g.some(3, grpcTokens...), g.some(1, "5xx", "gateway-error", "reset", "retriable-headers", "envoy-ratelimited")...)
		if g.one(4) {
			on = g.some(2, httpTokens...)
		}
	} else {
		on = append(g.some(3, httpTokens...), g.some(1, grpcTokens...)...)
	}
	m := &routev3.RetryPolicy{
		RetryOn:      strings.Join(on, ","),
		RetryBackOff: &routev3.RetryPolicy_RetryBackOff{BaseInterval: durationpb.New(time.Millisecond), MaxInterval: durationpb.New(2 * time.Millisecond)},
	}
	if !g.one(4) {
		m.NumRetries = wrapperspb.UInt32(pick(g.generator, uint32(0), 1, 2, 3, 4))
	}
	if g.one(4) {
		m.RetryBackOff = nil
	}
	if g.one(2) {
		m.RetriableStatusCodes = []uint32{404, 418, 503}[g.IntN(3):]
	}
	if g.one(2) {
		m.RetriableHeaders = []*routev3.HeaderMatcher{g.retriableHeader()}
	}
	if g.one(5) {
		m.RetriableRequestHeaders = []*routev3.HeaderMatcher{{Name: "x-again", HeaderMatchSpecifier: exactly(pick(g.generator, "1", "2"))}}
	}
	if g.one(8) {
		m.PerTryTimeout = durationpb.New(perTry)
	}
	if g.one(3) {
		m.RateLimitedRetryBackOff = &routev3.RetryPolicy_RateLimitedRetryBackOff{
			ResetHeaders: []*routev3.RetryPolicy_ResetHeader{{Name: "x-reset", Format: routev3.RetryPolicy_SECONDS}},
			MaxInterval:  durationpb.New(time.Second / 2), // nothing that is in whole seconds
		}
	}
	return laneRule{action: &routev3.RouteAction{RetryPolicy: m}}
}

func exactly(value string) *routev3.HeaderMatcher_StringMatch {
	return &routev3.HeaderMatcher_StringMatch{StringMatch: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: value}}}
}

func (g *retryGenerator) retriableHeader() *routev3.HeaderMatcher {
	switch g.IntN(4) {
	case 0:
		status := pick(g.generator, "200", "404", "500")
		if g.grpc && status == "200" { // any answer has it, also one whose headers commit the call (gRFC A6)
			status = "404"
		}
		return &routev3.HeaderMatcher{Name: ":status", HeaderMatchSpecifier: exactly(status)}
	case 1:
		return &routev3.HeaderMatcher{Name: "x-retry", HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}}
	default:
		return &routev3.HeaderMatcher{Name: "x-retry", HeaderMatchSpecifier: exactly(pick(g.generator, "yes", "no"))}
	}
}

// act makes up what comes of an attempt under a policy: as often as not what it retries.
func (g *retryGenerator) act(m *routev3.RetryPolicy) (a act) {
	on := strings.Split(m.GetRetryOn(), ",")
	if m.GetPerTryTimeout() != nil && g.one(4) && !(g.grpc && slices.Contains(on, "deadline-exceeded")) {
		return act{Kind: hangs}
	}
	defer func() {
		if g.grpc && a.Code == codes.OK { // its headers commit the call (gRFC A6)
			a.Header = nil
		}
	}()
	if g.one(3) || m.GetRetryOn() == "" {
		return g.anyAct(on)
	}
	a = act{Kind: answers, Status: 503, Header: g.answerHeader()}
	switch token := pick(g.generator, on...); token {
	case "gateway-error", "5xx":
		if g.grpc {
			return g.lostAct()
		}
		a.Status = pick(g.generator, 502, 503, 504)
	case "reset":
		return g.lostAct()
	case "envoy-ratelimited":
		a.Code, a.Header = codes.NotFound, append(a.Header, "x-envoy-ratelimited", "true")
	case "retriable-4xx":
		a.Status = 409
	case "retriable-status-codes":
		a.Status = pick(g.generator, 404, 418)
	case "retriable-headers":
		a.Status, a.Code, a.Header = 200, codes.NotFound, []string{"x-retry", pick(g.generator, "yes", "no")}
	case "refused-stream":
		if g.http2 && !g.grpc {
			return act{Kind: refuses}
		}
	case "reset-before-request", "connect-failure":
	default:
		code := map[string]codes.Code{"cancelled": codes.Canceled, "deadline-exceeded": codes.DeadlineExceeded, "internal": codes.Internal,
			"resource-exhausted": codes.ResourceExhausted, "unavailable": codes.Unavailable}[token]
		if a.Code = code; !g.grpc {
			a.Status, a.Header = 200, append(a.Header, "grpc-status", strconv.Itoa(int(code)))
		}
	}
	if g.grpc {
		a.Status = 0
	}
	return a
}

// lostAct is an attempt without an answer.
func (g *retryGenerator) lostAct() act {
	if g.grpc { // grpc-go sends again what was refused
		return act{Kind: pick(g.generator, drops, closes, fails)}
	}
	if g.http2 {
		return act{Kind: pick(g.generator, drops, closes, fails, refuses)}
	}
	return act{Kind: pick(g.generator, drops, closes)}
}

// anyAct does not look at the policy. To gRPC an attempt without an answer has a status,
// which may be retried (gRFC A44), and Envoy sees none.
func (g *retryGenerator) anyAct(on []string) act {
	a := act{Kind: answers, Header: g.answerHeader()}
	if g.grpc {
		a.Code = pick(g.generator, codes.Canceled, codes.DeadlineExceeded, codes.Internal, codes.ResourceExhausted, codes.Unavailable, codes.NotFound)
		if !slices.ContainsFunc(on, func(token string) bool { return slices.Contains(grpcTokens, token) }) && g.one(4) {
			return g.lostAct()
		}
		if g.one(8) && !slices.Contains(on, "retriable-headers") && !slices.Contains(on, "envoy-ratelimited") {
			a.Kind = late
		}
		return a
	}
	a.Status = pick(g.generator, 500, 502, 503, 504, 404, 409, 418, 429, 200)
	if g.one(6) {
		a.Header = append(a.Header, "grpc-status", pick(g.generator, "1", "4", "8", "13", "14", "5", "no"))
	}
	switch g.IntN(8) {
	case 0:
		return g.lostAct()
	case 1:
		a.Kind = breaks
	}
	return a
}

func (g *retryGenerator) answerHeader() (list []string) {
	if g.one(4) {
		list = append(list, "x-retry", pick(g.generator, "yes", "no"))
	}
	if g.one(10) {
		list = append(list, "x-envoy-ratelimited", "true")
	}
	if g.one(10) {
		list = append(list, "x-envoy-overloaded", "true")
	}
	if g.one(6) {
		list = append(list, "x-reset", pick(g.generator, "1", "", "soon"))
	}
	return list
}

func (g *retryGenerator) script(m *routev3.RetryPolicy) script {
	var s script
	for range 1 + g.IntN(5) {
		s = append(s, g.act(m))
	}
	return append(s, act{Kind: answers, Status: 200})
}

func (g *retryGenerator) request() request {
	r := request{method: pick(g.generator, "GET", "POST", "PUT", "DELETE")}
	if g.grpc || r.method == "POST" || r.method == "PUT" {
		r.body = strings.Repeat(pick(g.generator, "a", "bc"), pick(g.generator, 0, 1, 10, 5000, 30000))
	}
	if g.one(3) {
		r.header = append(r.header, "x-again", pick(g.generator, "1", "2"))
	}
	return r
}

// host says what is said of all rules.
func (g *retryGenerator) host() *routev3.VirtualHost {
	return &routev3.VirtualHost{
		IncludeRequestAttemptCount:    g.one(2),
		IncludeAttemptCountInResponse: g.one(2),
	}
}
