package mesh_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"
)

// TestTimeouts bounds calls by what policy says of their time (row R9): by gRPC, HTTP/1.1
// and h2c, which have the same one after the other. Traces are those of TestInteractions.
func TestTimeouts(t *testing.T) {
	hang := func(int) act { return act{hang: true} }
	quick := func(int) act { return sleepy(10, act{}) }
	for _, c := range []struct {
		name, route string
		script      func(int) act
		deadline    int // ms
		want        string
		why         string // what the error says
	}{
		{"timeout", "timeout: 50ms", hang, 0, "deadline@50", ""},
		{"stream duration", "maxStreamDuration: 50ms", hang, 0, "deadline@50", ""},
		{"the caller's is shorter", "timeout: 50ms, maxStreamDuration: 50ms", hang, 30, "deadline@30", ""},
		{"per-try", "retry: {attempts: 2, on: [connect-failure], perTryTimeout: 50ms}", hang, 0, "deadline@50", "per_try_timeout allows, 50ms"},
		{"per-try idle", "retry: {attempts: 2, on: [connect-failure], perTryIdleTimeout: 50ms}", hang, 0, "deadline@50", "per_try_idle_timeout allows, 50ms"},
		{"per-try, hedged", "retry: {attempts: 2, on: [connect-failure], perTryTimeout: 50ms}, hedge: {delay: 1h}", hang, 0, "deadline@50", "per_try_timeout allows, 50ms"},
		{"idle", "idleTimeout: 50ms", hang, 0, "deadline@50", ""},
		{"idle, with retries", "idleTimeout: 50ms, retry: {attempts: 4, on: [5xx, deadline-exceeded, cancelled]}", hang, 0, "deadline@50", ""},
		{"idle, none", "idleTimeout: 50ms", quick, 0, "ok@10", ""},
	} {
		for _, p := range append(protocols[:len(protocols):len(protocols)], h2c) {
			t.Run(c.name+"/"+p.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := newBubble(t, p, "", c.route, 1, c.script)
					ctx, cancel := context.WithCancel(t.Context())
					if c.deadline > 0 {
						ctx, cancel = context.WithTimeout(ctx, time.Duration(c.deadline)*time.Millisecond)
					}
					defer cancel()
					call := b.client(t)
					answer, err := call(ctx)
					b.ended(answer, err)
					if got := strings.Join(b.trace, " "); got != c.want {
						t.Errorf("got  %s\nwant %s", got, c.want)
					}
					if err != nil && !strings.Contains(err.Error(), c.why) {
						t.Errorf("%v; want it to say %q", err, c.why)
					}
					time.Sleep(time.Second)
				})
			})
		}
	}
}

// TestStreamTimeouts has the times of streams count from what moves them.
func TestStreamTimeouts(t *testing.T) {
	for name, c := range map[string]struct {
		route    string
		messages int // one each 30 ms, before CloseSend
		act      act
		want     string
	}{
		"idle":            {"idleTimeout: 50ms", 5, act{}, "ok@150"},
		"idle, nothing":   {"idleTimeout: 50ms", 0, act{hang: true}, "deadline@50"},
		"idle, then":      {"idleTimeout: 50ms", 3, act{hang: true}, "deadline@110"}, // the last is sent at 60
		"stream duration": {"maxStreamDuration: 100ms", 5, act{}, "deadline@100"},
		"per-try":         {"retry: {attempts: 2, on: [connect-failure], perTryTimeout: 50ms}", 5, act{}, "ok@150"},
		"per-try, hangs":  {"retry: {attempts: 2, on: [connect-failure], perTryTimeout: 50ms}", 5, act{hang: true}, "deadline@200"},
		"per-try idle":    {"retry: {attempts: 2, on: [connect-failure], perTryIdleTimeout: 50ms}", 5, act{}, "ok@150"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBubble(t, protocols[0], "", c.route, 1, func(int) act { return c.act })
				s := b.stream(t, t.Context())
				go func() {
					for range c.messages {
						_ = s.SendMsg(wrapperspb.String("7"))
						time.Sleep(30 * time.Millisecond)
					}
					if c.messages > 0 && !(c.act.hang && c.messages == 3) {
						_ = s.CloseSend()
					}
				}()
				b.ended("", s.RecvMsg(new(wrapperspb.StringValue)))
				if got := strings.Join(b.trace, " "); got != c.want {
					t.Errorf("got  %s\nwant %s", got, c.want)
				}
				time.Sleep(time.Second)
			})
		})
	}
}

// TestUploadTimeouts has a route's timeout, and that of an attempt, count from the end of
// the request (Envoy), whose body is slow.
func TestUploadTimeouts(t *testing.T) {
	for name, c := range map[string]struct {
		route string
		act   act
		body  int // bytes, one each 30 ms
		want  string
		http1 string // if HTTP/1.1 differs: there net/http awaits the end of a read
	}{
		"timeout":            {"timeout: 100ms", act{}, 5, "ok@150", ""},
		"timeout, hangs":     {"timeout: 100ms", act{hang: true}, 5, "deadline@250", ""},
		"stream duration":    {"maxStreamDuration: 115ms", act{}, 5, "deadline@110", "deadline@120"},
		"both":               {"timeout: 100ms, maxStreamDuration: 200ms", act{hang: true}, 5, "deadline@200", ""},
		"per-try":            {"timeout: 1s, retry: {attempts: 2, on: [connect-failure], perTryTimeout: 50ms}", act{}, 5, "ok@150", ""},
		"per-try, hangs":     {"timeout: 1s, retry: {attempts: 2, on: [connect-failure], perTryTimeout: 50ms}", act{hang: true}, 5, "deadline@200", ""},
		"idle":               {"timeout: 0s, idleTimeout: 50ms", act{}, 5, "ok@150", ""},
		"idle, hangs":        {"timeout: 0s, idleTimeout: 50ms", act{hang: true}, 5, "deadline@200", ""},
		"no time to retry":   {"timeout: 100ms, retry: {attempts: 2, on: [5xx], backOff: {baseInterval: 100000h, maxInterval: 100000h}}", act{fail: 14}, 5, "failed@0", "failed@150"},
		"idle in its answer": {"timeout: 0s, idleTimeout: 50ms", act{header: map[string]string{"stall": "1"}}, 1, "deadline@80", ""},
	} {
		for _, p := range []protocol{protocols[1], h2c} {
			t.Run(name+"/"+p.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := newBubble(t, p, "", c.route, 1, func(int) act { return c.act })
					req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://orders/", io.NopCloser(&slowReader{c.body, 30 * time.Millisecond}))
					if err != nil {
						t.Fatal(err)
					}
					resp, err := b.transport(t).RoundTrip(req)
					if err == nil {
						_, err = io.ReadAll(resp.Body)
						resp.Body.Close()
						if err == nil && resp.StatusCode != http.StatusOK {
							err = errors.New(resp.Status)
						}
					}
					b.ended("", err)
					want := c.want
					if p.name == "http" && c.http1 != "" {
						want = c.http1
					}
					if got := strings.Join(b.trace, " "); got != want {
						t.Errorf("got  %s\nwant %s (%v)", got, want, err)
					}
					time.Sleep(time.Second)
				})
			})
		}
	}
}

// TestDownloadTimeouts has the time of an attempt end with the beginning of its answer, and
// what bounds its progress go on until the answer's end.
func TestDownloadTimeouts(t *testing.T) {
	for name, c := range map[string]struct {
		route  string
		stalls bool // the answer, after it has come for 160 ms
		why    string
	}{
		"per-try":              {"retry: {on: [5xx], perTryTimeout: 50ms}", false, ""},
		"per-try idle":         {"retry: {on: [5xx], perTryIdleTimeout: 50ms}", false, ""},
		"per-try idle, stalls": {"retry: {on: [5xx], perTryIdleTimeout: 50ms}", true, "per_try_idle_timeout allows, 50ms"},
		"idle":                 {"timeout: 0s, idleTimeout: 50ms", false, ""},
		"idle, stalls":         {"timeout: 0s, idleTimeout: 50ms", true, "idle_timeout allows, 50ms"},
		"hedge":                {"retry: {on: [5xx], perTryTimeout: 50ms}, hedge: {delay: 1h}", false, ""},
		"hedge, stalls":        {"retry: {on: [5xx], perTryIdleTimeout: 50ms}, hedge: {delay: 1h}", true, "per_try_idle_timeout allows, 50ms"},
	} {
		t.Run(name, func(t *testing.T) {
			body := func() []piece { return []piece{{nil, "a"}} }
			replaying(t, c.route, body, func(_ int, w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				for range 4 {
					time.Sleep(40 * time.Millisecond)
					answer(w)
					_, _ = io.WriteString(w, "x")
				}
				if answer(w); c.stalls {
					<-r.Context().Done()
				}
			}, func(t *testing.T, r *replayed) {
				began := time.Now()
				resp, err := r.post(t)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				_, err = io.ReadAll(resp.Body)
				took := time.Since(began)
				if !c.stalls && (err != nil || took != 160*time.Millisecond) {
					t.Errorf("%v after %v", err, took)
				}
				if c.stalls && (!errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), c.why) || took != 210*time.Millisecond) {
					t.Errorf("%v after %v, want %q after 210ms", err, took, c.why)
				}
			})
		})
	}
}
