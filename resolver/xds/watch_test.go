package xds_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weft-mesh/weft/resolver/xds"
)

func TestWatchOfCachedResource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c, l, _ := watching(t, []string{"a"})
		l.say(deltaOf(listenerURL, "n1", "v1", "a=1"))
		l.wantDelta(deltaAck(listenerURL, "n1"))
		second := &log{}
		cancel := c.Watch(listenerURL, "a", second)
		second.want(t, "a=1@v1")
		l.wantSilence()
		// The first watch goes on when the second ends.
		cancel()
		cancel()
		l.wantSilence()
		l.say(deltaOf(listenerURL, "n2", "v2", "a=2"))
		second.want(t)
	})
}

func TestUnsubscribe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c, l, _ := watching(t, []string{"a"})
		w := &log{}
		cancel := c.Watch(listenerURL, "b", w)
		l.wantDelta(subscribe(listenerURL, "b"))
		l.say(deltaOf(listenerURL, "n1", "v1", "b=1"))
		l.wantDelta(deltaAck(listenerURL, "n1"))
		w.want(t, "b=1@v1")
		cancel()
		l.wantDelta(unsubscribe(listenerURL, "b"))
		if got := len(c.ResourceStatus()); got != 1 {
			t.Errorf("%d resources are known", got)
		}
		// What comes all the same is nobody's.
		l.say(deltaOf(listenerURL, "n2", "v2", "b=2"))
		l.wantDelta(deltaAck(listenerURL, "n2"))
		w.want(t)
		if n := s.decoder.count(); n != 1 {
			t.Errorf("%d resources were decoded", n)
		}
		// Asked for again, it is sent again.
		c.Watch(listenerURL, "b", w)
		w.want(t)
		l.wantDelta(subscribe(listenerURL, "b"))
		l.say(deltaOf(listenerURL, "n3", "v2", "b=2"))
		w.want(t, "b=2@v2")
	})
}

// While the server does not read, nothing piles up: what was never sent leaves no
// trace, what changed back is not sent, and the rest goes in one request.
func TestInterestCoalesces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		c := s.client()
		cancelA := c.Watch(listenerURL, "a", &log{})
		cancelB := c.Watch(listenerURL, "b", &log{})
		l := s.accept()
		l.say(deltaOf(listenerURL, "n1", "v1", "a=1", "b=1"))
		// Fill the line up to its brim.
		for i := 0; len(l.requests) < cap(l.requests); i++ {
			l.say(deltaOf(listenerURL, fmt.Sprint("fill", i), "v1"))
		}
		l.say(deltaOf(listenerURL, "stuck", "v1")) // its ACK is in Send now
		for i := range 100 {
			c.Watch(listenerURL, fmt.Sprint("passing", i), &log{})()
		}
		cancelA()
		cancelB()
		back := &log{}
		c.Watch(listenerURL, "b", back)
		back.want(t, "b=1@v1") // it was never given up
		c.Watch(listenerURL, "new", &log{})
		for range cap(l.requests) {
			<-l.requests
		}
		l.wantDelta(deltaAck(listenerURL, "stuck"))
		want := subscribe(listenerURL, "new")
		want.ResourceNamesUnsubscribe = []string{"a"}
		l.wantDelta(want)
		l.wantSilence()
	})
}

func TestAnswersToAServerThatDoesNotReadAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, l, _ := watching(t, []string{"a"})
		const responses = 1000
		for i := range responses {
			l.say(deltaOf(listenerURL, fmt.Sprint(i), "v1"))
		}
		var last string
		var count int
		for {
			synctest.Wait()
			select {
			case b := <-l.requests:
				var r discoveryv3.DeltaDiscoveryRequest
				if err := proto.Unmarshal(b, &r); err != nil {
					t.Fatal(err)
				}
				last = r.ResponseNonce
				count++
				continue
			default:
			}
			break
		}
		if last != fmt.Sprint(responses-1) {
			t.Errorf("the last answer is to %s", last)
		}
		if count >= 200 {
			t.Errorf("%d answers were kept", count)
		}
	})
}

// An answer that was not sent on its stream is never sent: nonces do not outlive it.
func TestAnswersEndWithTheirStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, l, _ := watching(t, []string{"a"})
		close(l.unread)
		for _, nonce := range []string{"n1", "n2", "n3"} {
			l.say(deltaOf(listenerURL, nonce, "v1", "a=1"))
		}
		l.end(errReset)
		time.Sleep(time.Second)
		l = s.accept()
		if got := next(l, &discoveryv3.DeltaDiscoveryRequest{}).ResponseNonce; got != "" {
			t.Errorf("nonce %s of the stream before is answered", got)
		}
		l.wantSilence()
	})
}

// The next response is read when the watchers have been told of the one before.
func TestSlowWatcherStopsTheReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c, l, w := watching(t, []string{"a"})
		release := make(chan struct{})
		slow := &log{hook: func(string) { <-release }}
		c.Watch(listenerURL, "a", slow)
		for i := range 5 {
			l.say(deltaOf(listenerURL, fmt.Sprint("n", i), "v", fmt.Sprint("a=", i)))
		}
		if got := len(l.responses); got != 4 {
			t.Errorf("%d of 5 responses wait", got)
		}
		close(release)
		w[0].want(t, "a=0@v", "a=1@v", "a=2@v", "a=3@v", "a=4@v")
		slow.want(t, "a=0@v", "a=1@v", "a=2@v", "a=3@v", "a=4@v")
	})
}

func TestWatcherMayWatchAndCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c, l, _ := watching(t, []string{"other"})
		var cancel func()
		inner := &log{}
		outer := &log{hook: func(string) {
			c.Watch(listenerURL, "inner", inner)
			c.ServerStatus()
			cancel()
		}}
		cancel = c.Watch(listenerURL, "a", outer)
		l.wantDelta(subscribe(listenerURL, "a"))
		l.say(deltaOf(listenerURL, "n1", "v1", "a=1"))
		outer.want(t, "a=1@v1")
		got := next(l, &discoveryv3.DeltaDiscoveryRequest{})
		if len(got.ResourceNamesSubscribe) == 0 { // the ACK may have come before
			got = next(l, &discoveryv3.DeltaDiscoveryRequest{})
		}
		if got.ResourceNamesSubscribe[0] != "inner" {
			t.Errorf("request is %v", got)
		}
		l.say(deltaOf(listenerURL, "n2", "v2", "a=2", "inner=1"))
		inner.want(t, "inner=1@v2")
		outer.want(t)
	})
}

// What is on its way to a watcher that gave up is not delivered.
func TestCancelWhileWaitingForDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c, l, _ := watching(t, []string{"a"})
		l.say(deltaOf(listenerURL, "n1", "v1", "a=1"))
		release := make(chan struct{})
		c.Watch(listenerURL, "a", &log{hook: func(string) { <-release }})
		synctest.Wait()
		w := &log{}
		cancel := c.Watch(listenerURL, "a", w)
		cancel()
		close(release)
		w.want(t)
	})
}

// A cancel in the first call of a delivery spares the second.
func TestCancelBeforeTheAmbientError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c, l, w := watching(t, []string{"a"})
		l.say(deltaOf(listenerURL, "n1", "v1", "a=1"))
		l.say(deltaOf(listenerURL, "n2", "v2", "a=bad"))
		synctest.Wait()
		if got := len(w[0].lines); got != 2 {
			t.Fatalf("watcher was told %q", w[0].lines)
		}
		watched := make(chan func(), 1)
		late := &log{hook: func(string) { (<-watched)() }}
		watched <- c.Watch(listenerURL, "a", late)
		late.want(t, "a=1@v1")
	})
}

func TestWatchesThatNobodyServes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		c := s.client()
		for _, test := range []struct{ url, name, want string }{
			{"type.googleapis.com/test.Unknown", "a", `xds: type.googleapis.com/test.Unknown "a": the type is not among Config.Types`},
			{listenerURL, "", `xds: Listener "": the name is empty or not valid UTF-8`},
			{listenerURL, "\xff", `xds: Listener "\xff": the name is empty or not valid UTF-8`},
			{listenerURL, "xdstp://nowhere/test.Listener/a", `xds: Listener "xdstp://nowhere/test.Listener/a": authority "nowhere" is not in the bootstrap`},
			{listenerURL, "xdstp://nowhere", `xds: Listener "xdstp://nowhere": "xdstp://nowhere" is not of the form xdstp://AUTHORITY/TYPE/ID`},
		} {
			w := &log{}
			cancel := c.Watch(test.url, test.name, w)
			w.want(t, "error: "+test.want)
			cancel()
		}
		if got := len(s.methods); got != 0 {
			t.Errorf("%d streams", got)
		}
	})
}

func TestWatchOfClosedClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c, _, w := watching(t, []string{"a"})
		c.Close()
		c.Close()
		w[0].want(t)
		c.Watch(listenerURL, "b", w[0])()
		w[0].want(t)
		if s.closed != 1 {
			t.Errorf("the transport was closed %d times", s.closed)
		}
	})
}

// Watches come and go from all sides while resources change. In the end each
// watcher that stayed knows the last value, and the server is asked for exactly
// what is watched.
func TestWatchStorm(t *testing.T) {
	for _, protocol := range []xds.Protocol{xds.ProtocolDelta, xds.ProtocolSotW} {
		t.Run(protocol.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { storm(t, protocol) })
		})
	}
}

func storm(t *testing.T, protocol xds.Protocol) {
	const names, workers, steps = 20, 8, 300
	s := newScript(t)
	c := s.client(pin(protocol))
	c.Watch(listenerURL, "anchor", &log{})

	// A server that answers what is asked, and changes everything now and then.
	asked := make(map[string]bool)
	version := 0
	l := s.accept()
	answer := func(fresh []string) {
		version++
		nonce := fmt.Sprint("n", version)
		if protocol == xds.ProtocolSotW {
			fresh = nil
			for name := range asked {
				fresh = append(fresh, name)
			}
		}
		var texts []string
		for _, name := range fresh {
			texts = append(texts, fmt.Sprintf("%s=%d", name, version))
		}
		var m proto.Message = deltaOf(listenerURL, nonce, nonce, texts...)
		if protocol == xds.ProtocolSotW {
			m = sotwOf(listenerURL, nonce, nonce, texts...)
		}
		b, err := proto.Marshal(m)
		if err != nil {
			t.Error(err)
		}
		select {
		case l.responses <- b:
		case <-l.ctx.Done():
		}
	}
	stop := make(chan struct{})
	var server sync.WaitGroup
	server.Go(func() {
		for {
			var b []byte
			select {
			case b = <-l.requests:
			case <-stop:
				return
			}
			var fresh []string
			if protocol == xds.ProtocolDelta {
				var r discoveryv3.DeltaDiscoveryRequest
				if err := proto.Unmarshal(b, &r); err != nil {
					t.Error(err)
				}
				for _, name := range r.ResourceNamesUnsubscribe {
					if !asked[name] {
						t.Errorf("%s is unsubscribed but was not asked for", name)
					}
					delete(asked, name)
				}
				for _, name := range r.ResourceNamesSubscribe {
					asked[name] = true
				}
				fresh = r.ResourceNamesSubscribe
			} else {
				var r discoveryv3.DiscoveryRequest
				if err := proto.Unmarshal(b, &r); err != nil {
					t.Error(err)
				}
				before := len(asked)
				clear(asked)
				for _, name := range r.ResourceNames {
					asked[name] = true
				}
				if before != len(asked) {
					fresh = r.ResourceNames
				}
			}
			if len(fresh) > 0 {
				answer(fresh)
			}
		}
	})

	kept := make([]map[string]*log, workers)
	var clients sync.WaitGroup
	for i := range workers {
		kept[i] = make(map[string]*log)
		clients.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 1))
			cancels := make(map[string]func())
			for range steps {
				name := fmt.Sprint("r", random.IntN(names))
				if cancel := cancels[name]; cancel != nil {
					cancel()
					delete(cancels, name)
					delete(kept[i], name)
					continue
				}
				w := &log{}
				kept[i][name] = w
				cancels[name] = c.Watch(listenerURL, name, w)
			}
		})
	}
	clients.Wait()
	synctest.Wait()
	close(stop)
	server.Wait()

	want := map[string]bool{"anchor": true}
	for i := range kept {
		for name := range kept[i] {
			want[name] = true
		}
	}
	if len(asked) != len(want) {
		t.Errorf("%d names are asked for, %d are watched", len(asked), len(want))
	}
	for name := range want {
		if !asked[name] {
			t.Errorf("%s is watched but not asked for", name)
		}
	}
	// All who watch one name have heard the same last word.
	last := make(map[string]string)
	for i := range kept {
		for name, w := range kept[i] {
			if len(w.lines) == 0 {
				t.Errorf("a watcher of %s was told nothing", name)
				continue
			}
			line := w.lines[len(w.lines)-1]
			if !strings.HasPrefix(line, name+"=") {
				t.Errorf("a watcher of %s was told %s", name, line)
			}
			if before, ok := last[name]; ok && before != line {
				t.Errorf("watchers of %s were told %s and %s", name, before, line)
			}
			last[name] = line
		}
	}
}

func TestErrorKinds(t *testing.T) {
	cause := errors.New("cause")
	err := error(&xds.Error{Type: "Cluster", Name: "a", Kind: xds.ErrNotFound, Err: cause})
	if !errors.Is(err, xds.ErrNotFound) || !errors.Is(err, cause) || errors.Is(err, xds.ErrUnavailable) {
		t.Error("wrong kinds")
	}
	if got := err.Error(); got != `xds: Cluster "a": does not exist: cause` {
		t.Errorf("text is %s", got)
	}
}
