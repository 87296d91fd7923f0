package resilience

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
)

const ms = time.Millisecond

// plan is what becomes of one attempt.
type plan struct {
	takes  time.Duration
	result Result
}

// play is a call in simulated time.
type play struct {
	policy   Policy
	limits   LimitsConfig
	deadline time.Duration // 0 for none
	attempts []plan
	cancel   time.Duration   // the caller gives up; 0 for never
	commit   time.Duration   // the request is found too long; 0 for never
	taken    int             // retries of others
	took     []time.Duration // what attempts took before
	tokens   int64           // of the throttle, in thousandths, unless 0
	want     string
}

// run plays the call and returns what happened: "1@0" is attempt 1 sent at 0 ms, "=1@5"
// its result taken at 5 ms.
func (p *play) run(t *testing.T) string {
	t.Helper()
	var limits Limits
	limits.Configure(&p.limits)
	for range p.taken {
		limits.Add(Retries, PriorityDefault)
	}
	if p.tokens != 0 {
		limits.Throttle().tokens.Store(p.tokens)
	}
	policy := p.policy
	if len(p.took) > 0 {
		policy.Latency = new(Latency)
		for _, d := range p.took {
			policy.Latency.Record(d)
		}
	}
	start := time.Unix(1e9, 0)
	call := Call{Policy: &policy, Limits: &limits}
	if p.deadline > 0 {
		call.Deadline = start.Add(p.deadline)
	}
	a := NewAttempts(call)
	a.delayOf = func(n int) time.Duration { return policy.Retry.Backoff.Ceiling(n) }

	type event struct {
		at      time.Time
		attempt int
		result  Result
	}
	var (
		events []event
		trace  []string
		now    = start
		kept   int // the attempt whose result may be the call's
	)
	say := func(format string, args ...any) {
		trace = append(trace, fmt.Sprintf(format, args...)+fmt.Sprintf("@%d", now.Sub(start)/ms))
	}
	for range 100 {
		step := a.Next(now)
		switch step.Do {
		case Send:
			say("%d", step.Attempt)
			next := p.attempts[step.Attempt-1]
			timeout := policy.Retry.PerTryTimeout
			if timeout > 0 && next.takes > timeout && (policy.Hedge == nil || !policy.Hedge.OnPerTryTimeout) {
				next = plan{timeout, Result{Kind: TimedOut}}
			}
			events = append(events, event{now.Add(next.takes), step.Attempt, next.result})
			slices.SortStableFunc(events, func(a, b event) int { return a.at.Compare(b.at) })
			continue
		case Finish:
			say("=%d", step.Attempt)
			if kept != step.Attempt {
				t.Errorf("the result of attempt %d was kept, and that of %d is the call's", kept, step.Attempt)
			}
			if r := a.Reason(); r != NotAsked {
				trace = append(trace, "("+r.String()+")")
			}
		case Wait:
			if !step.At.IsZero() && !step.At.After(now) {
				t.Fatalf("%s: waits at %v for what was due at %v", strings.Join(trace, " "), now.Sub(start), step.At.Sub(start))
			}
			var at time.Time
			consider := func(when time.Time, ok bool) {
				if ok && when.After(now) {
					at = earlier(at, when)
				}
			}
			consider(step.At, !step.At.IsZero())
			consider(start.Add(p.cancel), p.cancel > 0)
			consider(start.Add(p.commit), p.commit > 0)
			consider(call.Deadline, p.deadline > 0)
			if len(events) > 0 {
				consider(events[0].at, true)
				if !events[0].at.After(now) {
					at = now
				}
			}
			if at.IsZero() {
				t.Fatalf("%s: waits for nothing", strings.Join(trace, " "))
			}
			now = at
			if p.cancel > 0 && now.Equal(start.Add(p.cancel)) {
				say("cancel")
				a.Close()
				break
			}
			if p.deadline > 0 && !now.Before(call.Deadline) {
				say("deadline")
				a.Close()
				break
			}
			if p.commit > 0 && now.Equal(start.Add(p.commit)) {
				a.Commit()
			}
			for len(events) > 0 && !events[0].at.After(now) {
				e := events[0]
				events = events[1:]
				if a.Ended(now, e.attempt, &e.result) {
					kept = e.attempt
					break
				}
			}
			continue
		}
		break
	}
	a.Close()
	if n := limits.InFlight(Retries, PriorityDefault); n != int64(p.taken) {
		t.Errorf("%d places among the retries were not given back", n-int64(p.taken))
	}
	return strings.Join(trace, " ")
}

var (
	ok          = Result{Status: 200}
	unavailable = Result{Status: 503}
	notFound    = Result{Status: 404}
	reset       = Result{Kind: Reset}
)

func asks(d time.Duration) Result {
	return Result{Status: 503, Pushback: Pushback{Given: true, After: d}}
}

var asksNot = Result{Status: 503, Pushback: Pushback{Given: true, Never: true}}

func retries(n int) Retry {
	return Retry{Retries: n, On: Conditions{On: On5xx}, Backoff: Backoff{Base: 10 * ms}}
}

func perTry(n int, timeout time.Duration) Policy {
	r := retries(n)
	r.PerTryTimeout = timeout
	return Policy{Retry: r}
}

func hedged(n int, h Hedge) Policy {
	p := perTry(n, 0)
	if h.OnPerTryTimeout {
		p.Retry.PerTryTimeout = 50 * ms
	}
	p.Hedge = &h
	return p
}

func samples(d time.Duration) []time.Duration { return slices.Repeat([]time.Duration{d}, 100) }

// TestInteractions plays the table of the package's documentation.
func TestInteractions(t *testing.T) {
	timeoutHedge, delayHedge := Hedge{OnPerTryTimeout: true}, Hedge{Delay: 20 * ms}
	throttle := DefaultLimits
	throttle.Throttle = &ThrottleConfig{MaxTokens: 10, Ratio: 100}
	few := func(n uint32) LimitsConfig {
		c := DefaultLimits
		c.Thresholds[0].MaxRetries = n
		return c
	}
	rateLimited := perTry(2, 0)
	rateLimited.Retry.RateLimited = &RateLimitedBackoff{Headers: []ResetHeader{{Name: "x-reset"}}, Max: 2 * time.Second}

	plays := map[string]play{
		"no-time-for-backoff": {policy: perTry(3, 0), deadline: 15 * ms, attempts: []plan{{6 * ms, unavailable}},
			want: "1@0 =1@6 (too late before the deadline)"},
		"no-time-for-attempt": {policy: perTry(3, 0), deadline: 100 * ms, took: samples(200 * ms), attempts: []plan{{6 * ms, unavailable}},
			want: "1@0 =1@6 (too late before the deadline)"},
		"no-time-for-hedge": {policy: hedged(2, delayHedge), deadline: 100 * ms, took: samples(100 * ms), attempts: []plan{{50 * ms, ok}},
			want: "1@0 =1@50"},
		"no-time-for-pushback": {policy: perTry(3, 0), deadline: time.Second, attempts: []plan{{5 * ms, asks(time.Second)}},
			want: "1@0 =1@5 (too late before the deadline)"},
		"per-try-beyond-deadline": {policy: perTry(3, 100*ms), deadline: 50 * ms, attempts: []plan{{time.Second, ok}},
			want: "1@0 deadline@50"},

		"time-for-attempt": {policy: perTry(3, 0), deadline: time.Second, attempts: []plan{{6 * ms, unavailable}, {5 * ms, ok}},
			want: "1@0 2@16 =2@21"},

		"per-try": {policy: perTry(3, 50*ms), attempts: []plan{{time.Second, ok}, {5 * ms, ok}},
			want: "1@0 2@60 =2@65"},
		"per-try-not-named": {policy: Policy{Retry: Retry{Retries: 3, On: Conditions{On: OnConnectFailure}, PerTryTimeout: 50 * ms}},
			attempts: []plan{{time.Second, ok}}, want: "1@0 =1@50"},
		"per-try-in-hedge": {policy: hedged(3, timeoutHedge), attempts: []plan{{80 * ms, ok}, {time.Second, ok}},
			want: "1@0 2@60 =1@80"},
		"per-try-in-hedge/second wins": {policy: hedged(3, timeoutHedge), attempts: []plan{{time.Second, ok}, {5 * ms, ok}},
			want: "1@0 2@60 =2@65"},
		"per-try-in-hedge/third": {policy: hedged(3, timeoutHedge), attempts: []plan{{time.Second, ok}, {time.Second, ok}, {5 * ms, ok}},
			want: "1@0 2@60 3@130 =3@135"},
		"per-try-in-hedge/in backoff": {policy: hedged(4, Hedge{OnPerTryTimeout: true, Delay: 45 * ms}), attempts: []plan{{time.Second, ok}, {time.Second, ok}, {time.Second, ok}, {5 * ms, ok}},
			want: "1@0 2@45 3@60 4@115 =4@120"}, // the time of 3 is up when 4 is due already
		"per-try-in-hedge/no time": {policy: hedged(2, Hedge{OnPerTryTimeout: true, Delay: 55 * ms}), deadline: 58 * ms, attempts: []plan{{time.Second, ok}, {2 * ms, ok}},
			want: "1@0 2@55 =2@57"}, // for the backoff of a stand-in; the hedge by time is sent
		"per-try-late-failure": {policy: hedged(3, timeoutHedge), attempts: []plan{{70 * ms, unavailable}, {50 * ms, ok}},
			want: "1@0 2@60 =2@110"},
		"per-try-late-failure/in backoff": {policy: hedged(3, timeoutHedge), attempts: []plan{{55 * ms, unavailable}, {5 * ms, ok}},
			want: "1@0 2@60 =2@65"},
		"per-try-all-fail": {policy: hedged(1, timeoutHedge), attempts: []plan{{70 * ms, reset}, {5 * ms, unavailable}},
			want: "1@0 2@60 =1@70 (no retries left)"},
		"per-try-no-budget": {policy: hedged(3, timeoutHedge), limits: few(1), taken: 1, attempts: []plan{{70 * ms, ok}},
			want: "1@0 =1@70"},

		"hedge-wins":  {policy: hedged(2, delayHedge), attempts: []plan{{100 * ms, ok}, {10 * ms, ok}}, want: "1@0 2@20 =2@30"},
		"hedge-loses": {policy: hedged(2, delayHedge), attempts: []plan{{25 * ms, ok}, {100 * ms, ok}}, want: "1@0 2@20 =1@25"},
		"hedge-wins/quantile": {policy: hedged(1, Hedge{Quantile: 0.9, Delay: time.Second}), took: samples(8 * ms), attempts: []plan{{100 * ms, ok}, {10 * ms, ok}},
			want: "1@0 2@8 =2@18"},
		"hedge-wins/quantile unknown": {policy: hedged(1, Hedge{Quantile: 0.9, Delay: 30 * ms}), attempts: []plan{{100 * ms, ok}, {10 * ms, ok}},
			want: "1@0 2@30 =2@40"},
		"hedge-fatal": {policy: hedged(2, delayHedge), attempts: []plan{{100 * ms, ok}, {10 * ms, notFound}}, want: "1@0 2@20 =2@30"},
		"hedge-failure-advances": {policy: hedged(3, delayHedge), attempts: []plan{{5 * ms, unavailable}, {100 * ms, ok}, {10 * ms, ok}},
			want: "1@0 2@5 3@25 =3@35"},
		"hedge-failure-advances/beside another": {policy: hedged(2, delayHedge), limits: few(1), attempts: []plan{{100 * ms, ok}, {5 * ms, unavailable}, {10 * ms, ok}},
			want: "1@0 2@20 3@25 =3@35"},
		"hedge-failure-advances/once": {policy: hedged(3, delayHedge), attempts: []plan{{40 * ms, unavailable}, {5 * ms, asks(50 * ms)}, {5 * ms, ok}},
			want: "1@0 2@20 3@75 =3@80"},
		"hedge-exhausted": {policy: hedged(2, delayHedge), attempts: []plan{{100 * ms, unavailable}, {30 * ms, reset}, {5 * ms, unavailable}},
			want: "1@0 2@20 3@40 =1@100 (no retries left)"},
		"hedge-no-budget": {policy: hedged(3, delayHedge), limits: few(2), taken: 2, attempts: []plan{{100 * ms, ok}}, want: "1@0 =1@100"},
		"hedge-budget-in-flight": {policy: hedged(3, delayHedge), limits: few(1), attempts: []plan{{30 * ms, unavailable}, {50 * ms, ok}},
			want: "1@0 2@20 =2@70"},
		"hedge-throttled": {policy: hedged(3, delayHedge), limits: throttle, tokens: 5000, attempts: []plan{{100 * ms, ok}}, want: "1@0 =1@100"},
		"hedge-pushback": {policy: hedged(3, delayHedge), attempts: []plan{{5 * ms, asks(50 * ms)}, {100 * ms, ok}, {10 * ms, ok}},
			want: "1@0 2@55 3@75 =3@85"},
		"hedge-pushback-never": {policy: hedged(3, delayHedge), attempts: []plan{{40 * ms, ok}, {5 * ms, asksNot}},
			want: "1@0 2@20 =1@40"},

		"pushback": {policy: perTry(4, 0), attempts: []plan{{0, unavailable}, {0, asks(100 * ms)}, {0, unavailable}, {0, ok}},
			want: "1@0 2@10 3@110 4@120 =4@120"},
		"pushback-never": {policy: perTry(4, 0), attempts: []plan{{5 * ms, asksNot}}, want: "1@0 =1@5 (the server asked not to retry)"},
		"pushback-never/in backoff": {policy: hedged(3, timeoutHedge), attempts: []plan{{55 * ms, asksNot}},
			want: "1@0 =1@55 (the server asked not to retry)"},
		"pushback-in-backoff": {policy: hedged(3, timeoutHedge), attempts: []plan{{55 * ms, asks(time.Second)}, {5 * ms, ok}}, want: "1@0 2@60 =2@65"},
		"reset-header": {policy: rateLimited, attempts: []plan{{0, Result{Status: 503, Headers: header{"x-reset": "1"}}}, {0, ok}},
			want: "1@0 2@1 =2@1"}, // in seconds, below
		"reset-header/too long": {policy: rateLimited, attempts: []plan{{0, Result{Status: 503, Headers: header{"x-reset": "3"}}}, {0, ok}},
			want: "1@0 2@10 =2@10"},

		"budget":          {policy: perTry(3, 0), limits: few(2), taken: 2, attempts: []plan{{5 * ms, unavailable}}, want: "1@0 =1@5 (over the retry budget)"},
		"budget-returned": {policy: perTry(3, 0), limits: few(1), attempts: []plan{{0, unavailable}, {0, reset}, {0, unavailable}, {0, ok}}, want: "1@0 2@10 3@30 4@70 =4@70"},
		"throttled":       {policy: perTry(3, 0), limits: throttle, tokens: 6000, attempts: []plan{{5 * ms, unavailable}}, want: "1@0 =1@5 (retries are throttled)"},

		"committed":                       {policy: perTry(3, 0), commit: 3 * ms, attempts: []plan{{5 * ms, unavailable}}, want: "1@0 =1@5 (cannot be sent again)"},
		"commit-in-backoff":               {policy: perTry(3, 0), commit: 8 * ms, attempts: []plan{{5 * ms, unavailable}, {5 * ms, unavailable}}, want: "1@0 2@15 =2@20 (cannot be sent again)"},
		"commit-in-backoff/of a stand-in": {policy: hedged(3, timeoutHedge), commit: 55 * ms, attempts: []plan{{80 * ms, ok}}, want: "1@0 =1@80"},
		"partial":                         {policy: perTry(3, 0), attempts: []plan{{5 * ms, Result{Kind: Reset, Partial: true}}}, want: "1@0 =1@5"},

		"cancel":            {policy: perTry(3, 0), attempts: []plan{{5 * ms, Result{Kind: Canceled}}}, want: "1@0 =1@5"},
		"cancel-in-backoff": {policy: perTry(3, 0), cancel: 8 * ms, attempts: []plan{{5 * ms, unavailable}}, want: "1@0 cancel@8"},
		"cancel-in-pick":    {policy: perTry(3, 0), attempts: []plan{{5 * ms, Result{Kind: Canceled, NotSent: true}}}, want: "1@0 =1@5"},

		"refused":               {policy: perTry(3, 0), attempts: []plan{{0, Result{Kind: Refused, NotSent: true}}}, want: "1@0 =1@0"},
		"refused-hedge":         {policy: hedged(3, delayHedge), attempts: []plan{{100 * ms, ok}, {0, Result{Kind: Refused, NotSent: true}}}, want: "1@0 2@20 =1@100"},
		"breaker-only-endpoint": {policy: perTry(3, 0), attempts: []plan{{0, Result{Kind: Refused, NotSent: true}}}, want: "1@0 =1@0"},
		"breaker-in-backoff":    {policy: perTry(3, 0), attempts: []plan{{5 * ms, unavailable}, {0, Result{Kind: Refused, NotSent: true}}}, want: "1@0 2@15 =2@15"},
		"breaker-hedge":         {policy: hedged(3, delayHedge), attempts: []plan{{100 * ms, ok}, {0, Result{Kind: Refused, NotSent: true}}}, want: "1@0 2@20 =1@100"},
		"breaker-probe":         {policy: perTry(3, 0), attempts: []plan{{5 * ms, unavailable}, {5 * ms, ok}}, want: "1@0 2@15 =2@20"},
		"unreachable": {policy: Policy{Retry: Retry{Retries: 1, On: Conditions{On: OnConnectFailure}, Backoff: Backoff{Base: 10 * ms}}},
			attempts: []plan{{0, Result{Kind: ConnectFailed, NotSent: true}}, {0, ok}}, want: "1@0 2@10 =2@10"},
	}
	for name, p := range plays {
		if p.limits == (LimitsConfig{}) {
			p.limits = DefaultLimits
		}
		t.Run(name, func(t *testing.T) {
			got := p.run(t)
			if name == "reset-header" {
				var at int
				if _, err := fmt.Sscanf(got, "1@0 2@%d", &at); err != nil || at < 1000 || at > 1500 {
					t.Errorf("%s: want the retry after one second to one and a half", got)
				}
				return
			}
			if diff := gocmp.Diff(p.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestSentOrNotSent plays each way to fail under each token, for requests of which
// something may have been sent and those of which nothing was.
func TestSentOrNotSent(t *testing.T) {
	for _, c := range []struct {
		result Result
		want   string // tokens that retry it
	}{
		{Result{Kind: Reset}, "5xx gateway-error reset"},
		{Result{Kind: Reset, NotSent: true}, "5xx gateway-error reset reset-before-request"},
		{Result{Kind: TimedOut}, "5xx gateway-error reset"},
		{Result{Kind: ConnectFailed, NotSent: true}, "5xx connect-failure gateway-error reset reset-before-request"},
		{Result{Kind: RefusedStream}, "5xx gateway-error refused-stream reset"},
		{Result{Kind: Reset, GRPC: true, Code: codes.Unavailable}, "5xx gateway-error reset unavailable"},
		{Result{Kind: TimedOut, GRPC: true, Code: codes.DeadlineExceeded}, "5xx deadline-exceeded gateway-error reset"},
		{Result{Kind: Reset, Partial: true}, ""},
		{Result{Kind: Refused, GRPC: true, Code: codes.Unavailable, NotSent: true}, ""},
		{Result{Kind: Canceled, GRPC: true, Code: codes.Canceled}, ""},
		{Result{Status: 200}, ""},
		{Result{Status: 404}, ""},
		{Result{Status: 409}, "retriable-4xx"},
		{Result{Status: 418}, "retriable-status-codes"},
		{Result{Status: 500}, "5xx"},
		{Result{Status: 499}, ""},
		{Result{Status: 501}, "5xx"},
		{Result{Status: 502}, "5xx gateway-error"},
		{Result{Status: 503}, "5xx gateway-error"},
		{Result{Status: 504}, "5xx gateway-error"},
		{Result{Status: 505}, "5xx"},
		{Result{Status: 599}, "5xx"},
		{Result{Status: 200, Headers: header{"x-again": "1"}}, "retriable-headers"},
		{Result{Status: 503, Headers: header{"x-envoy-overloaded": "1"}}, "5xx gateway-error"},
		{Result{Status: 200, Headers: header{"grpc-status": "13"}}, "internal"},
		{Result{Status: 200, Headers: header{"grpc-status": "no"}}, ""},
		{Result{Status: 429, Headers: header{"x-envoy-ratelimited": "1"}}, "envoy-ratelimited"},
		{Result{Status: 503, Headers: header{"x-envoy-ratelimited": "1"}}, "envoy-ratelimited"},
		{Result{GRPC: true, Code: codes.OK}, ""},
		{Result{GRPC: true, Code: codes.Canceled}, "cancelled"},
		{Result{GRPC: true, Code: codes.DeadlineExceeded}, "deadline-exceeded"},
		{Result{GRPC: true, Code: codes.Internal}, "internal"},
		{Result{GRPC: true, Code: codes.ResourceExhausted}, "resource-exhausted"},
		{Result{GRPC: true, Code: codes.Unavailable}, "unavailable"},
		{Result{GRPC: true, Code: codes.InvalidArgument}, ""},
	} {
		var got []string
		for token, on := range Tokens {
			conditions := Conditions{On: on, StatusCodes: []uint32{418}, Response: func(_ int, h Headers) bool {
				_, ok := h.Header("x-again")
				return ok
			}}
			if conditions.Retries(&c.result) {
				got = append(got, token)
			}
		}
		slices.SortFunc(got, cmp.Compare[string])
		if strings.Join(got, " ") != c.want {
			t.Errorf("%+v is retried by %q, want %q", c.result, got, c.want)
		}
	}
}

// header has names in lower case.
type header map[string]string

func (h header) Values(name string) []string {
	if v, ok := h.Header(name); ok {
		return []string{v}
	}
	return nil
}

func (h header) Header(name string) (string, bool) {
	v, ok := h[strings.ToLower(name)]
	return v, ok
}

// FuzzAttempts has calls of any policy and any fate keep what always holds: no more
// attempts than policy allows, none after the deadline, an end, and all places
// among the retries given back.
func FuzzAttempts(f *testing.F) {
	f.Add([]byte{3, 1, 10, 0, 5, 1, 7, 0})
	f.Add([]byte{2, 2, 0, 40, 30, 3, 30, 4, 30, 0})
	f.Add([]byte{4, 3, 90, 0, 60, 1, 60, 2, 5, 5, 1, 1})
	results := []Result{ok, unavailable, notFound, reset, asks(20 * ms), asksNot, {Kind: Refused}, {Kind: Canceled}, {Kind: Reset, Partial: true}}
	f.Fuzz(func(t *testing.T, b []byte) {
		next := func() int {
			if len(b) == 0 {
				return 0
			}
			v := int(b[0])
			b = b[1:]
			return v
		}
		policy := perTry(next()%6, 0)
		switch next() % 4 {
		case 1:
			policy = hedged(policy.Retry.Retries, Hedge{Delay: 20 * ms})
		case 2:
			policy = hedged(policy.Retry.Retries, Hedge{OnPerTryTimeout: true})
		case 3:
			policy = hedged(policy.Retry.Retries, Hedge{OnPerTryTimeout: true, Delay: 20 * ms})
		}
		p := play{policy: policy, limits: DefaultLimits, deadline: time.Duration(next()) * ms, commit: time.Duration(next()) * ms}
		for range policy.Retry.Retries + 1 {
			p.attempts = append(p.attempts, plan{time.Duration(next()) * ms, results[next()%len(results)]})
		}
		trace := strings.Fields(p.run(t))
		for _, e := range trace {
			var n, at int
			if _, err := fmt.Sscanf(e, "%d@%d", &n, &at); err == nil && p.deadline > 0 && at > 0 && time.Duration(at)*ms >= p.deadline {
				t.Errorf("%v: attempt %d is sent after the deadline, %v", trace, n, p.deadline)
			}
		}
		last := trace[len(trace)-1]
		if !strings.Contains(last, "=") && !strings.Contains(last, ")") && !strings.HasPrefix(last, "deadline") {
			t.Errorf("%v does not end", trace)
		}
	})
}
