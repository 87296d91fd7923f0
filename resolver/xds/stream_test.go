package xds_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/proto"

	"github.com/weft-mesh/weft/resolver/xds"
)

const unavailable = `xds: Listener "a" from cp:1: unavailable: `

// Who waits for a first value hears why there is none, who has one hears it beside
// (gRFC A57), and each reason is told once.
func TestConnectionErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		s.refuses("", errors.New("connection refused"))
		c := s.client()
		w := &log{}
		c.Watch(listenerURL, "a", w)
		w.want(t, "error: "+unavailable+"connection refused")
		time.Sleep(time.Second)
		w.want(t)
		late := &log{}
		c.Watch(listenerURL, "a", late)
		late.want(t, "error: "+unavailable+"connection refused")
		s.refuses("", errors.New("no such host"))
		time.Sleep(2 * time.Second)
		w.want(t, "error: "+unavailable+"no such host")

		s.refuses("", nil)
		time.Sleep(10 * time.Second)
		l := s.accept()
		l.say(deltaOf(listenerURL, "n1", "v1", "a=1"))
		w.want(t, "a=1@v1")
		waiting := &log{}
		c.Watch(listenerURL, "b", waiting)
		waiting.want(t) // there is a connection now
		s.refuses("", errors.New("connection refused"))
		l.end(errReset)
		w.want(t) // it had answered
		time.Sleep(10 * time.Second)
		w.want(t, "ambient: "+unavailable+"connection refused")
	})
}

// After an error of the connection, one of the resource is news even if it is the
// one from before.
func TestNotFoundAfterAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, l, w := watching(t, []string{"a"})
		removed := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: listenerURL, Nonce: "n", RemovedResources: []string{"a"}}
		const gone = `error: xds: Listener "a" from cp:1: does not exist: removed by the server`
		l.say(removed)
		w[0].want(t, gone)
		s.refuses("", errors.New("connection refused"))
		l.end(errReset)
		time.Sleep(time.Second)
		w[0].want(t, "error: "+unavailable+"connection refused")
		s.refuses("", nil)
		time.Sleep(5 * time.Second)
		s.accept().say(removed)
		w[0].want(t, gone)
	})
}

func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		var attempts []int
		s.refuses("", errReset)
		c := s.client(func(c *xds.Config) {
			c.Backoff = func(attempt int) time.Duration {
				attempts = append(attempts, attempt)
				return time.Second
			}
		})
		c.Watch(listenerURL, "a", &log{})
		time.Sleep(2500 * time.Millisecond)
		s.refuses("", nil)
		time.Sleep(time.Second)
		l := s.accept()
		l.end(errReset) // no answer: it goes on
		time.Sleep(time.Second)
		l = s.accept()
		l.say(deltaOf(listenerURL, "n1", "v1"))
		l.end(errReset) // an answer: from the start
		time.Sleep(time.Second)
		s.accept().end(errReset)
		if d := cmp.Diff([]int{0, 1, 2, 3, 0, 1}, attempts); d != "" {
			t.Errorf("attempts (-want +got):\n%s", d)
		}
	})
}

func TestExponentialBackoff(t *testing.T) {
	backoff := xds.ExponentialBackoff(time.Second, 30*time.Second)
	for attempt, bound := range map[int]time.Duration{0: time.Second, 1: 1600 * time.Millisecond, 8: 30 * time.Second, 1 << 30: 30 * time.Second} {
		var low, high bool
		for range 1000 {
			d := backoff(attempt)
			if d < 0 || d > bound {
				t.Fatalf("attempt %d: %v is not within %v", attempt, d, bound)
			}
			low = low || d < bound/4
			high = high || d > bound*3/4
		}
		if !low || !high {
			t.Errorf("attempt %d: the jitter is not full", attempt)
		}
	}
}

// A stream that breaks in the middle of a response costs nothing that is held.
func TestBrokenResponses(t *testing.T) {
	good, err := proto.Marshal(deltaOf(listenerURL, "n2", "v2", "a=2", "b=2"))
	if err != nil {
		t.Fatal(err)
	}
	for name, broken := range map[string][]byte{
		"cut":     good[:len(good)/2],
		"garbage": {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, c, l, w := watching(t, []string{"a", "b"})
				l.say(deltaOf(listenerURL, "n1", "v1", "a=1"))
				w[0].want(t, "a=1@v1")
				l.sayRaw(broken)
				if l.ctx.Err() == nil {
					t.Error("the stream goes on")
				}
				w[0].want(t)
				w[1].want(t)
				if err := c.ServerStatus()[0].LastError; err == nil {
					t.Error("the status has no error")
				}
				time.Sleep(time.Second)
				l = s.accept()
				l.say(deltaOf(listenerURL, "m1", "v2", "a=2", "b=2"))
				w[0].want(t, "a=2@v2")
				w[1].want(t, "b=2@v2")
			})
		})
	}
}

// An empty message is a response too, of no type.
func TestEmptyResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, l, _ := watching(t, []string{"a"})
		l.sayRaw(nil)
		l.wantSilence()
		if l.ctx.Err() != nil {
			t.Error("the stream ended")
		}
	})
}

func TestTenThousandResources(t *testing.T) {
	for _, protocol := range []xds.Protocol{xds.ProtocolDelta, xds.ProtocolSotW} {
		t.Run(protocol.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const n = 10_000
				s := newScript(t)
				c := s.client(pin(protocol))
				logs := make([]*log, n)
				texts := make([]string, n)
				for i := range logs {
					logs[i] = &log{}
					c.Watch(listenerURL, fmt.Sprint("r", i), logs[i])
					texts[i] = fmt.Sprintf("r%d=1", i)
				}
				l := s.accept()
				say := func(nonce string) {
					if protocol == xds.ProtocolDelta {
						l.say(deltaOf(listenerURL, nonce, nonce, texts...))
					} else {
						l.say(sotwOf(listenerURL, nonce, nonce, texts...))
					}
				}
				synctest.Wait()
				say("n1")
				texts[7777] = "r7777=2"
				say("n2")
				if got := s.decoder.count(); got != n+1 {
					t.Errorf("%d resources were decoded, want %d", got, n+1)
				}
				for i, w := range logs {
					if i == 7777 {
						w.want(t, "r7777=1@n1", "r7777=2@n2")
					} else if len(w.lines) != 1 {
						t.Fatalf("r%d was told %q", i, w.lines)
					}
				}
			})
		})
	}
}

func TestNackIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var names, texts []string
		for i := range 10_000 {
			names = append(names, fmt.Sprint("r", i))
			texts = append(texts, fmt.Sprintf("r%d=bad\xff", i))
		}
		_, _, l, _ := watching(t, names)
		l.say(deltaOf(listenerURL, "n1", "v1", texts...))
		message := next(l, &discoveryv3.DeltaDiscoveryRequest{}).GetErrorDetail().GetMessage()
		if len(message) < 1000 || len(message) > 20_000 {
			t.Errorf("the NACK has %d bytes", len(message))
		}
	})
}

func TestStreamWaitsForSomethingToAskFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		c := s.client()
		cancel := c.Watch(listenerURL, "a", &log{})
		l := s.accept()
		cancel()
		l.say(deltaOf(listenerURL, "n1", "v1"))
		l.end(errReset)
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := len(s.methods); got != 1 {
			t.Fatalf("%d streams", got)
		}
		c.Watch(listenerURL, "b", &log{})
		s.accept()
	})
}

func TestTransportThatCannotBeBuilt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		b := &balky{script: s}
		c := s.client(func(c *xds.Config) { c.Transport = b })
		w := &log{}
		c.Watch(listenerURL, "a", w)
		w.want(t, "error: "+unavailable+"no such file")
		time.Sleep(time.Second)
		s.accept().say(deltaOf(listenerURL, "n1", "v1", "a=1"))
		w.want(t, "a=1@v1")
	})
}

// balky fails to build the first transport.
type balky struct {
	*script
	tried bool
}

func (b *balky) Build(c xds.ServerConfig) (xds.Transport, error) {
	if !b.tried {
		b.tried = true
		return nil, errors.New("no such file")
	}
	return b.script.Build(c)
}

// Names with an authority go to that authority's servers; a server that stands in
// two lists has one stream (gRFC A47).
func TestAuthorities(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		own := xds.ServerConfig{URI: "own:1"}
		c := s.client(func(c *xds.Config) {
			c.Authorities = map[string]xds.Authority{
				"own":    {Servers: []xds.ServerConfig{own, {URI: "fallback:1"}}},
				"shared": {Servers: []xds.ServerConfig{own}},
				"":       {},
			}
		})
		w := &log{}
		c.Watch(listenerURL, "xdstp://own/test.Listener/a/b?y=2&x=1", w)
		l := s.accept()
		if l.uri != "own:1" {
			t.Errorf("server is %s", l.uri)
		}
		next(l, &discoveryv3.DeltaDiscoveryRequest{})
		c.Watch(listenerURL, "xdstp://own/test.Listener/a/b?x=1&y=2", w) // the same
		c.Watch(listenerURL, "xdstp://shared/test.Listener/c", w)
		l.wantDelta(subscribe(listenerURL, "xdstp://shared/test.Listener/c"))
		l.say(&discoveryv3.DeltaDiscoveryResponse{TypeUrl: listenerURL, Nonce: "n1", Resources: []*discoveryv3.Resource{
			{Name: "xdstp://own/test.Listener/a/b?y=2&x=1", Resource: body(listenerURL, "any=1")},
		}})
		const told = "xdstp://own/test.Listener/a/b?x=1&y=2=1"
		w.want(t, told, told)

		c.Watch(listenerURL, "xdstp:///test.Listener/d", &log{})
		other := s.accept()
		if other.uri != "cp:1" {
			t.Errorf("server is %s", other.uri)
		}
		c.Watch(endpointURL, "xdstp://own/test.Listener/a", w)
		w.want(t, `error: xds: Endpoints "xdstp://own/test.Listener/a": the name is that of a test.Listener`)
		if got := len(s.built); got != 2 {
			t.Errorf("%d transports", got)
		}
	})
}

func TestStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		s := newScript(t)
		s.refuses("", errReset)
		c := s.client()
		if got := c.ServerStatus(); len(got) != 0 {
			t.Errorf("servers before the first watch: %v", got)
		}
		c.Watch(listenerURL, "a", &log{})
		c.Watch(listenerURL, "b", &log{})
		c.Watch(endpointURL, "e", &log{})
		synctest.Wait()
		check := func(server xds.ServerStatus, resources ...xds.ResourceStatus) {
			t.Helper()
			synctest.Wait()
			if d := cmp.Diff([]xds.ServerStatus{server}, c.ServerStatus(), cmpopts.EquateErrors()); d != "" {
				t.Errorf("servers (-want +got):\n%s", d)
			}
			got := c.ResourceStatus()
			for i := range got {
				if got[i].Server != "cp:1" {
					t.Errorf("server is %q", got[i].Server)
				}
				got[i].Server = ""
				if (got[i].LastError == nil) != got[i].ErrorAt.IsZero() {
					t.Errorf("error %v at %v", got[i].LastError, got[i].ErrorAt)
				}
			}
			if d := cmp.Diff(resources, got, cmpopts.IgnoreFields(xds.ResourceStatus{}, "LastError", "ErrorAt", "ChangedAt")); d != "" {
				t.Errorf("resources (-want +got):\n%s", d)
			}
		}
		check(xds.ServerStatus{URI: "cp:1", Protocol: xds.ProtocolDelta, Since: start, LastError: errReset, LastErrorAt: start},
			xds.ResourceStatus{TypeURL: endpointURL, Name: "e"},
			xds.ResourceStatus{TypeURL: listenerURL, Name: "a"},
			xds.ResourceStatus{TypeURL: listenerURL, Name: "b"})
		s.refuses("", nil)
		time.Sleep(time.Second)
		l := s.accept()
		l.say(deltaOf(listenerURL, "n1", "v1", "a=1", "b=1"))
		l.say(deltaOf(listenerURL, "n2", "v2", "b=bad"))
		l.say(&discoveryv3.DeltaDiscoveryResponse{TypeUrl: endpointURL, RemovedResources: []string{"e"}})
		check(xds.ServerStatus{URI: "cp:1", Protocol: xds.ProtocolDelta, Connected: true, Since: start.Add(time.Second), LastError: errReset, LastErrorAt: start},
			xds.ResourceStatus{TypeURL: endpointURL, Name: "e", State: xds.ResourceDoesNotExist},
			xds.ResourceStatus{TypeURL: listenerURL, Name: "a", State: xds.ResourceAcked, Held: true, Version: "v1"},
			xds.ResourceStatus{TypeURL: listenerURL, Name: "b", State: xds.ResourceNacked, Held: true, Version: "v1"})
		time.Sleep(time.Second)
		gone := errors.New("gone")
		l.end(gone)
		got := c.ServerStatus()[0]
		want := xds.ServerStatus{URI: "cp:1", Protocol: xds.ProtocolDelta, Since: start.Add(2 * time.Second), LastError: gone, LastErrorAt: start.Add(2 * time.Second)}
		if d := cmp.Diff(want, got, cmpopts.EquateErrors()); d != "" {
			t.Errorf("server (-want +got):\n%s", d)
		}
	})
}

func TestNewNamesWhatIsMissing(t *testing.T) {
	s := newScript(t)
	good := func() xds.Config {
		return xds.Config{
			Servers:   []xds.ServerConfig{{URI: "cp:1"}},
			Types:     []xds.ResourceType{{URL: listenerURL, Decode: s.decoder.decode}},
			Transport: s,
		}
	}
	for want, spoil := range map[string]func(*xds.Config){
		"xds: Config.Transport is missing":                                func(c *xds.Config) { c.Transport = nil },
		"xds: Config.Servers is empty and there are no authorities":       func(c *xds.Config) { c.Servers = nil },
		"xds: Config.Types is empty":                                      func(c *xds.Config) { c.Types = nil },
		"xds: Config.Types[0].URL is empty":                               func(c *xds.Config) { c.Types[0].URL = "" },
		"xds: Config.Types[0].Decode is missing (" + listenerURL + ")":    func(c *xds.Config) { c.Types[0].Decode = nil },
		"xds: Config.Types[1]: " + listenerURL + " stands in it twice":    func(c *xds.Config) { c.Types = append(c.Types, c.Types[0]) },
		`xds: authority "x" has no servers and there are no default ones`: func(c *xds.Config) { c.Servers, c.Authorities = nil, map[string]xds.Authority{"x": {}} },
	} {
		c := good()
		spoil(&c)
		if _, err := xds.New(c); err == nil || err.Error() != want {
			t.Errorf("error is %v, want %s", err, want)
		}
	}
}
