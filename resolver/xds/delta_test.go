package xds_test

import (
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/weft-mesh/weft/resolver/xds"
)

func deltaNack(typeURL, nonce, message string) *discoveryv3.DeltaDiscoveryRequest {
	return &discoveryv3.DeltaDiscoveryRequest{
		TypeUrl: typeURL, ResponseNonce: nonce,
		ErrorDetail: &status.Status{Code: 3, Message: message},
	}
}

func subscribe(typeURL string, names ...string) *discoveryv3.DeltaDiscoveryRequest {
	return &discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURL, ResourceNamesSubscribe: names}
}

func unsubscribe(typeURL string, names ...string) *discoveryv3.DeltaDiscoveryRequest {
	return &discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURL, ResourceNamesUnsubscribe: names}
}

// watching starts a client that watches listeners by these names, and takes the
// first request. It returns the watchers in the order of the names.
func watching(t *testing.T, names []string, change ...func(*xds.Config)) (*script, *xds.Client, *line, []*log) {
	t.Helper()
	s := newScript(t)
	c := s.client(change...)
	var logs []*log
	for _, name := range names {
		w := &log{}
		c.Watch(listenerURL, name, w)
		logs = append(logs, w)
	}
	l := s.accept()
	synctest.Wait()
	select {
	case <-l.requests:
	default:
		t.Fatal("no first request")
	}
	return s, c, l, logs
}

func TestDeltaOneStreamForAllTypes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		c := s.client()
		a, b, e := &log{}, &log{}, &log{}
		c.Watch(listenerURL, "b", b)
		c.Watch(listenerURL, "a", a)
		c.Watch(endpointURL, "e", e)
		l := s.accept()
		if l.method != xds.DeltaMethod {
			t.Errorf("method is %s", l.method)
		}
		first := next(l, &discoveryv3.DeltaDiscoveryRequest{})
		node := first.Node
		first.Node = nil
		if d := cmp.Diff(subscribe(listenerURL, "a", "b"), first, protocmp.Transform()); d != "" {
			t.Errorf("first request (-want +got):\n%s", d)
		}
		if node.GetId() != "me" || node.GetUserAgentName() != "weft" || node.GetUserAgentVersion() == "" {
			t.Errorf("node is %v", node)
		}
		if d := cmp.Diff([]string{"xds.config.resource-in-sotw", "xds.config.supports-resource-ttl"}, node.GetClientFeatures()); d != "" {
			t.Errorf("client features (-want +got):\n%s", d)
		}
		l.wantDelta(subscribe(endpointURL, "e")) // without the node
		l.say(deltaOf(listenerURL, "n1", "v1", "a=1", "b=2"))
		l.wantDelta(deltaAck(listenerURL, "n1"))
		l.say(deltaOf(endpointURL, "n2", "v7", "e=3"))
		l.wantDelta(deltaAck(endpointURL, "n2"))
		a.want(t, "a=1@v1")
		b.want(t, "b=2@v1")
		e.want(t, "e=3@v7")

		// Another target, much later, on the same stream.
		time.Sleep(time.Minute)
		late := &log{}
		c.Watch(endpointURL, "late", late)
		l.wantDelta(subscribe(endpointURL, "late"))
		if got := len(s.methods); got != 1 {
			t.Errorf("%d streams", got)
		}
	})
}

func TestNodeKeepsWhatItsOwnerSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		given := &corev3.Node{Id: "x", UserAgentName: "mine", ClientFeatures: []string{"mine.too", "xds.config.resource-in-sotw"}}
		c := s.client(func(c *xds.Config) { c.Node = given })
		c.Watch(listenerURL, "a", &log{})
		got := next(s.accept(), &discoveryv3.DeltaDiscoveryRequest{}).Node
		want := &corev3.Node{Id: "x", UserAgentName: "mine",
			ClientFeatures: []string{"mine.too", "xds.config.resource-in-sotw", "xds.config.supports-resource-ttl"}}
		if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
			t.Errorf("node (-want +got):\n%s", d)
		}
		if len(given.ClientFeatures) != 2 {
			t.Error("the config was changed")
		}
	})
}

// One bad resource does not cost the good ones of its response (gRFC A46).
func TestDeltaBadAmongGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, l, w := watching(t, []string{"a", "b", "c"})
		l.say(deltaOf(listenerURL, "n1", "v1", "a=1", "b=bad idea", "c=3"))
		l.wantDelta(deltaNack(listenerURL, "n1", `Listener b: filters[2].config: bad idea`))
		w[0].want(t, "a=1@v1")
		w[1].want(t, `error: xds: Listener "b" from cp:1: filters[2].config: bad idea`)
		w[2].want(t, "c=3@v1")

		// Then the other way round: what is held stays.
		l.say(deltaOf(listenerURL, "n2", "v2", "a=bad", "b=2", "c=bad"))
		l.wantDelta(deltaNack(listenerURL, "n2", `Listener a: filters[2].config: bad; Listener c: filters[2].config: bad`))
		w[0].want(t, `ambient: xds: Listener "a" from cp:1: filters[2].config: bad`)
		w[1].want(t, "b=2@v2")
		w[2].want(t, `ambient: xds: Listener "c" from cp:1: filters[2].config: bad`)

		// The same again is no news. Then the old value is good again, which is.
		l.say(deltaOf(listenerURL, "n3", "v2", "a=bad"))
		l.wantDelta(deltaNack(listenerURL, "n3", `Listener a: filters[2].config: bad`))
		w[0].want(t)
		l.say(deltaOf(listenerURL, "n4", "v1", "a=1"))
		l.wantDelta(deltaAck(listenerURL, "n4"))
		w[0].want(t, "a=1@v1")
	})
}

func TestBadDropsWhereTheServerSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c, l, w := watching(t, []string{"a", "b"}, failOnDataErrors)
		l.say(deltaOf(listenerURL, "n1", "v1", "a=1", "b=1"))
		w[0].want(t, "a=1@v1")
		w[1].want(t, "b=1@v1")
		l.say(deltaOf(listenerURL, "n2", "v2", "a=bad"))
		w[0].want(t, `error: xds: Listener "a" from cp:1: filters[2].config: bad`)
		l.say(&discoveryv3.DeltaDiscoveryResponse{TypeUrl: listenerURL, Nonce: "n3", RemovedResources: []string{"b"}})
		w[1].want(t, `error: xds: Listener "b" from cp:1: does not exist: removed by the server`)
		for _, r := range c.ResourceStatus() {
			if r.Held {
				t.Errorf("%s is still held", r.Name)
			}
		}
		// What was dropped comes back.
		l.say(deltaOf(listenerURL, "n4", "v1", "a=1", "b=1"))
		w[0].want(t, "a=1@v1")
		w[1].want(t, "b=1@v1")
	})
}

func TestUnreadableResourcesAreNamedByPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, l, w := watching(t, []string{"a", "b"})
		r := deltaOf(listenerURL, "n1", "v1", "a=1", "b=2")
		r.Resources[0].Name = ""
		r.Resources = append(r.Resources,
			&discoveryv3.Resource{Name: "b", Version: "v1", Resource: body(endpointURL, "b=3")})
		l.say(r)
		l.wantDelta(deltaNack(listenerURL, "n1",
			`Listener [0]: it has no name; Listener b: it is in the response twice, and not the same`))
		w[0].want(t)
		w[1].want(t, "b=2@v1")

		r = deltaOf(listenerURL, "n2", "v2", "a=5")
		r.Resources[0].Resource.TypeUrl = endpointURL
		l.say(r)
		l.wantDelta(deltaNack(listenerURL, "n2", `Listener a: its type is "`+endpointURL+`"`))
	})
}

func TestDecoderThatPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, l, w := watching(t, []string{"a", "b"})
		l.say(deltaOf(listenerURL, "n1", "v1", "a=panic", "b=2"))
		l.wantDelta(deltaNack(listenerURL, "n1", `Listener a: decoding it panicked: a decoder with a bug`))
		w[0].want(t, `error: xds: Listener "a" from cp:1: decoding it panicked: a decoder with a bug`)
		w[1].want(t, "b=2@v1")
	})
}

func TestDuplicateNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, l, w := watching(t, []string{"a", "b", "c"})
		l.say(deltaOf(listenerURL, "n1", "v1", "a=1", "a=1", "b=1", "b=2", "c=bad", "c=3"))
		l.wantDelta(deltaNack(listenerURL, "n1",
			`Listener b: it is in the response twice, and not the same; Listener c: filters[2].config: bad`))
		w[0].want(t, "a=1@v1")
		w[1].want(t, "b=1@v1") // the first stands
		w[2].want(t, "c=3@v1") // unless it is bad
	})
}

// Deletion keeps what is held and says so (gRFC A88).
func TestDeltaRemovedResources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c, l, w := watching(t, []string{"a", "b"})
		l.say(deltaOf(listenerURL, "n1", "v1", "a=1"))
		w[0].want(t, "a=1@v1")
		l.say(&discoveryv3.DeltaDiscoveryResponse{
			TypeUrl: listenerURL, Nonce: "n2",
			RemovedResources:     []string{"a", "never heard of"},
			RemovedResourceNames: []*discoveryv3.ResourceName{{Name: "b"}},
		})
		w[0].want(t, `ambient: xds: Listener "a" from cp:1: does not exist: removed by the server`)
		w[1].want(t, `error: xds: Listener "b" from cp:1: does not exist: removed by the server`)
		l.wantDelta(deltaAck(listenerURL, "n1"))
		l.wantDelta(deltaAck(listenerURL, "n2"))

		// A watch that comes later hears of both.
		late := &log{}
		c.Watch(listenerURL, "a", late)
		late.want(t, "a=1@v1", `ambient: xds: Listener "a" from cp:1: does not exist: removed by the server`)

		// It is created anew, just as it was.
		l.say(deltaOf(listenerURL, "n3", "v1", "a=1"))
		w[0].want(t, "a=1@v1")
	})
}

func TestResourceThatIsSentAndRemovedAtOnceStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, l, w := watching(t, []string{"a"}, failOnDataErrors)
		r := deltaOf(listenerURL, "n1", "v1", "a=1")
		r.RemovedResources = []string{"a"}
		l.say(r)
		w[0].want(t, "a=1@v1")
	})
}

func TestUnaskedResources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c, l, w := watching(t, []string{"a"})
		l.say(deltaOf(listenerURL, "n1", "v1", "x=1", "a=1", "y=bad"))
		l.wantDelta(deltaAck(listenerURL, "n1"))
		w[0].want(t, "a=1@v1")
		if n := s.decoder.count(); n != 1 {
			t.Errorf("%d resources were decoded", n)
		}
		// A type that was not asked for is not even answered: as the type's first
		// request, the answer would subscribe to everything.
		l.say(deltaOf(endpointURL, "n2", "v1", "e=1"))
		l.say(deltaOf("type.googleapis.com/nobody.Knows", "n3", "v1", "e=1"))
		l.wantSilence()
		if got := len(c.ResourceStatus()); got != 1 {
			t.Errorf("%d resources are known", got)
		}
	})
}

// Nor is a type answered that was asked for only on an earlier stream.
func TestUnaskedTypeOnANewStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c, l, _ := watching(t, []string{"a"})
		cancel := c.Watch(endpointURL, "e", &log{})
		l.wantDelta(subscribe(endpointURL, "e"))
		cancel()
		l.wantDelta(unsubscribe(endpointURL, "e"))
		l.say(deltaOf(listenerURL, "n1", "v1", "a=1"))
		l.end(errReset)
		time.Sleep(time.Second)
		l = s.accept()
		next(l, &discoveryv3.DeltaDiscoveryRequest{})
		l.say(deltaOf(endpointURL, "n2", "v1", "e=1"))
		l.wantSilence()
	})
}

func TestResponseWithoutNonceIsUsedButNotAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, protocol := range []xds.Protocol{xds.ProtocolDelta, xds.ProtocolSotW} {
			_, _, l, w := watching(t, []string{"a"}, pin(protocol))
			if protocol == xds.ProtocolDelta {
				l.say(deltaOf(listenerURL, "", "v1", "a=1"))
			} else {
				l.say(sotwOf(listenerURL, "", "v1", "a=1"))
			}
			w[0].want(t, "a=1@v1")
			l.wantSilence()
		}
	})
}

// A nonce is whatever the server says it is: used twice, it is answered twice, and
// an older one than the last is no reason to leave out what comes with it.
func TestStaleNonces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, l, w := watching(t, []string{"a"})
		for i, nonce := range []string{"n2", "n2", "n1"} {
			l.say(deltaOf(listenerURL, nonce, "v", "a="+string(rune('1'+i))))
			l.wantDelta(deltaAck(listenerURL, nonce))
		}
		w[0].want(t, "a=1@v", "a=2@v", "a=3@v")
	})
}

func TestResourceErrors(t *testing.T) {
	refusals := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: listenerURL, Nonce: "n2", ResourceErrors: []*discoveryv3.ResourceError{
		{ResourceName: &discoveryv3.ResourceName{Name: "a"}, ErrorDetail: &status.Status{Code: 5, Message: "no such thing"}},
		{ResourceName: &discoveryv3.ResourceName{Name: "b"}, ErrorDetail: &status.Status{Code: 7, Message: "not for you"}},
		{ResourceName: &discoveryv3.ResourceName{Name: "c"}, ErrorDetail: &status.Status{Code: 13, Message: "database is down"}},
		{ResourceName: &discoveryv3.ResourceName{Name: "d"}, ErrorDetail: &status.Status{Code: 7, Message: "not for you"}},
		{ResourceName: &discoveryv3.ResourceName{Name: "unknown"}},
	}}
	const (
		a = `xds: Listener "a" from cp:1: does not exist: no such thing`
		b = `xds: Listener "b" from cp:1: not for you`
		c = `xds: Listener "c" from cp:1: database is down`
		d = `xds: Listener "d" from cp:1: not for you`
	)
	for _, test := range []struct {
		name   string
		change func(*xds.Config)
		want   []string
	}{
		{"keep", func(*xds.Config) {}, []string{"ambient: " + a, "ambient: " + b, "ambient: " + c, "error: " + d}},
		{"fail on data errors", failOnDataErrors, []string{"error: " + a, "error: " + b, "ambient: " + c, "error: " + d}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, _, l, w := watching(t, []string{"a", "b", "c", "d"}, test.change)
				l.say(deltaOf(listenerURL, "n1", "v1", "a=1", "b=1", "c=1"))
				for i, text := range []string{"a=1@v1", "b=1@v1", "c=1@v1"} {
					w[i].want(t, text)
				}
				l.say(refusals)
				for i := range w {
					w[i].want(t, test.want[i])
				}
				l.wantDelta(deltaAck(listenerURL, "n1"))
				l.wantDelta(deltaAck(listenerURL, "n2"))
				time.Sleep(time.Minute) // the refused are not waited for
				w[3].want(t)
			})
		})
	}
}

func TestReconnectClaimsVersions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, l, w := watching(t, []string{"a", "gone", "later", "nacked", "versionless"})
		l.say(deltaOf(listenerURL, "n1", "v1", "a=1", "gone=1", "nacked=1"))
		l.say(deltaOf(listenerURL, "n2", "", "versionless=1"))
		l.say(&discoveryv3.DeltaDiscoveryResponse{TypeUrl: listenerURL, Nonce: "n3", RemovedResources: []string{"gone"}})
		l.say(deltaOf(listenerURL, "n4", "v2", "nacked=bad"))
		for _, w := range w {
			synctest.Wait()
			w.lines = nil
		}
		l.end(errReset)
		time.Sleep(time.Second)
		l = s.accept()
		got := next(l, &discoveryv3.DeltaDiscoveryRequest{})
		if got.Node.GetId() != "me" {
			t.Error("a new stream has to begin with the node")
		}
		got.Node = nil
		want := subscribe(listenerURL, "a", "gone", "later", "nacked", "versionless")
		want.InitialResourceVersions = map[string]string{"a": "v1", "nacked": "v1"}
		if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
			t.Errorf("request (-want +got):\n%s", d)
		}
		// The server had answered, so that the end of the stream is no news (gRFC A57).
		for _, w := range w {
			w.want(t)
		}
		// Only the first request of a stream claims.
		l.say(deltaOf(listenerURL, "m1", "v1", "later=1"))
		l.wantDelta(deltaAck(listenerURL, "m1"))
		w[2].want(t, "later=1@v1")
		// What is held is not waited for again.
		time.Sleep(time.Minute)
		for _, w := range w {
			w.want(t)
		}
	})
}

func TestUnchangedIsNotDecoded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, l, w := watching(t, []string{"a"})
		l.say(deltaOf(listenerURL, "n1", "v1", "a=1"))
		l.say(deltaOf(listenerURL, "n2", "v2", "a=1"))
		w[0].want(t, "a=1@v1")
		if n := s.decoder.count(); n != 1 {
			t.Errorf("decoded %d times", n)
		}
		// The new version is what is claimed all the same.
		l.end(errReset)
		time.Sleep(time.Second)
		got := next(s.accept(), &discoveryv3.DeltaDiscoveryRequest{}).InitialResourceVersions
		if d := cmp.Diff(map[string]string{"a": "v2"}, got); d != "" {
			t.Errorf("initial versions (-want +got):\n%s", d)
		}
	})
}
