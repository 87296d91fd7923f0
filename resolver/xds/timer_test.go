package xds_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weft-mesh/weft/resolver/xds"
)

func TestResourceThatNeverComes(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*xds.Config)
		after  time.Duration
		want   string
		state  xds.ResourceState
	}{
		"default": {
			func(*xds.Config) {}, 15 * time.Second,
			"does not exist: not received within 15s", xds.ResourceDoesNotExist,
		},
		"configured": {
			func(c *xds.Config) { c.WatchExpiry = 3 * time.Second }, 3 * time.Second,
			"does not exist: not received within 3s", xds.ResourceDoesNotExist,
		},
		"server that would tell": {
			func(c *xds.Config) { c.Servers[0].ResourceTimerIsTransientFailure = true }, 30 * time.Second,
			"unavailable: not answered within 30s", xds.ResourceTimedOut,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, c, l, w := watching(t, []string{"a", "b"}, test.change)
				time.Sleep(test.after - time.Millisecond)
				l.say(deltaOf(listenerURL, "n1", "v1", "b=1")) // just in time
				w[0].want(t)
				time.Sleep(time.Millisecond)
				w[0].want(t, `error: xds: Listener "a" from cp:1: `+test.want)
				w[1].want(t, "b=1@v1")
				if got := c.ResourceStatus()[0].State; got != test.state {
					t.Errorf("state is %v", got)
				}
				late := &log{}
				c.Watch(listenerURL, "a", late)
				late.want(t, `error: xds: Listener "a" from cp:1: `+test.want)
				// Late is better than never.
				l.say(deltaOf(listenerURL, "n2", "v1", "a=1"))
				w[0].want(t, "a=1@v1")
			})
		})
	}
}

// The time runs only while the server could answer (gRFC A57).
func TestExpiryNeedsAServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, l, w := watching(t, []string{"a"}, func(c *xds.Config) {
			c.Backoff = func(int) time.Duration { return time.Second }
		})
		l.say(deltaOf(listenerURL, "n1", "v1")) // so that the end of the stream is no error
		time.Sleep(14 * time.Second)
		s.refuses("", errReset)
		l.end(errReset)
		time.Sleep(time.Minute + 500*time.Millisecond)
		w[0].want(t, `error: xds: Listener "a" from cp:1: unavailable: rpc error: code = Unavailable desc = connection reset`)
		s.refuses("", nil)
		time.Sleep(500 * time.Millisecond)
		l = s.accept()
		next(l, &discoveryv3.DeltaDiscoveryRequest{})
		time.Sleep(14 * time.Second)
		w[0].want(t)
		time.Sleep(time.Second)
		w[0].want(t, `error: xds: Listener "a" from cp:1: does not exist: not received within 15s`)
	})
}

// A request that the server does not read was not sent.
func TestExpiryStartsWhenTheRequestIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c, l, _ := watching(t, []string{"a"})
		close(l.unread)
		w := &log{}
		c.Watch(listenerURL, "b", w)
		time.Sleep(time.Hour)
		w.want(t)
	})
}

func TestTimeToLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c, l, w := watching(t, []string{"a", "b"})
		r := deltaOf(listenerURL, "n1", "v1", "a=1", "b=1")
		r.Resources[0].Ttl = durationpb.New(10 * time.Second)
		r.Resources[1].Ttl = durationpb.New(10 * time.Second)
		l.say(r)
		l.wantDelta(deltaAck(listenerURL, "n1"))
		w[0].want(t, "a=1@v1")
		w[1].want(t, "b=1@v1")

		time.Sleep(9 * time.Second)
		heartbeat := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: listenerURL, Nonce: "n2", Resources: []*discoveryv3.Resource{
			{Name: "a", Version: "v1", Ttl: durationpb.New(20 * time.Second)},
		}}
		l.say(heartbeat)
		l.wantDelta(deltaAck(listenerURL, "n2"))
		heartbeat.Nonce, heartbeat.Resources[0].Version = "stale", "v0"
		l.say(heartbeat)
		l.wantDelta(deltaNack(listenerURL, "stale", "Listener a: it has no body, and is not the version that is held"))
		heartbeat.Resources[0].Version = "v1"
		// Without a time to live it stays for good.
		l.say(deltaOf(listenerURL, "n3", "v1", "b=1"))
		l.wantDelta(deltaAck(listenerURL, "n3"))
		w[0].want(t)
		w[1].want(t)

		time.Sleep(20*time.Second - time.Millisecond)
		w[0].want(t)
		time.Sleep(time.Millisecond)
		w[0].want(t, `error: xds: Listener "a" from cp:1: does not exist: its time to live ended without a heartbeat`)
		w[1].want(t)
		// Delta does not send again what it believes we have, unless it is asked to.
		l.wantDelta(subscribe(listenerURL, "a"))

		// A heartbeat for what is no longer there is not enough.
		heartbeat.Nonce = "n4"
		l.say(heartbeat)
		l.wantDelta(deltaNack(listenerURL, "n4", "Listener a: it has no body, and is not the version that is held"))
		l.say(deltaOf(listenerURL, "n5", "v1", "a=1"))
		w[0].want(t, "a=1@v1")
		if held := c.ResourceStatus()[0].Held; !held {
			t.Error("it is not held")
		}
	})
}

func TestTimeToLiveEndsWithoutAServerToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, l, w := watching(t, []string{"a"})
		r := deltaOf(listenerURL, "n1", "v1", "a=1")
		r.Resources[0].Ttl = durationpb.New(10 * time.Second)
		l.say(r)
		s.refuses("", errReset)
		l.end(errReset)
		time.Sleep(9 * time.Second)
		w[0].want(t, "a=1@v1", `ambient: xds: Listener "a" from cp:1: unavailable: rpc error: code = Unavailable desc = connection reset`)
		time.Sleep(time.Second)
		w[0].want(t, `error: xds: Listener "a" from cp:1: does not exist: its time to live ended without a heartbeat`)
	})
}

func TestBadTimesToLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, l, w := watching(t, []string{"a", "b", "c"})
		r := deltaOf(listenerURL, "n1", "v1", "a=1", "b=1", "c=1")
		r.Resources[0].Ttl = durationpb.New(-time.Second)
		r.Resources[1].Ttl = &durationpb.Duration{Seconds: 1, Nanos: -1}
		r.Resources[2].Ttl = &durationpb.Duration{Seconds: 315576000000} // ten thousand years
		l.say(r)
		got := next(l, &discoveryv3.DeltaDiscoveryRequest{})
		if got.ErrorDetail == nil {
			t.Error("no NACK")
		}
		w[0].want(t, `error: xds: Listener "a" from cp:1: ttl: -1s is not positive`)
		synctest.Wait()
		if got := w[1].lines; len(got) != 1 || !strings.HasPrefix(got[0], "error: ") {
			t.Errorf("watcher of b was told %q", got)
		}
		w[2].want(t, "c=1@v1")
		time.Sleep(24 * time.Hour)
		w[2].want(t)
	})
}
