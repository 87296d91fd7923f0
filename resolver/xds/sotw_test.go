package xds_test

import (
	"testing"
	"testing/synctest"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weft-mesh/weft/resolver/xds"
)

var errUnimplemented = grpcstatus.Error(codes.Unimplemented, "unknown method")

// sotwRequest is a request after the first of a stream.
func sotwRequest(typeURL, version, nonce string, names ...string) *discoveryv3.DiscoveryRequest {
	return &discoveryv3.DiscoveryRequest{TypeUrl: typeURL, VersionInfo: version, ResponseNonce: nonce, ResourceNames: names}
}

// wrapped is a SotW resource in a Resource wrapper.
func wrapped(t *testing.T, r *discoveryv3.Resource) *anypb.Any {
	t.Helper()
	b, err := proto.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return &anypb.Any{TypeUrl: "type.googleapis.com/envoy.service.discovery.v3.Resource", Value: b}
}

func TestFallsBackToSotW(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		c := s.client()
		w := &log{}
		c.Watch(listenerURL, "a", w)
		l := s.accept()
		l.end(errUnimplemented) // as gRPC has it: the stream opens and then fails
		l = s.accept()          // at once
		if l.method != xds.SotWMethod {
			t.Fatalf("method is %s", l.method)
		}
		got := next(l, &discoveryv3.DiscoveryRequest{})
		if got.Node.GetId() != "me" {
			t.Error("a new stream has to begin with the node")
		}
		l.say(sotwOf(listenerURL, "n1", "v1", "a=1"))
		l.wantSotW(sotwRequest(listenerURL, "v1", "n1", "a"))
		w.want(t, "a=1@v1") // and nothing of the attempt before
		if got := c.ServerStatus()[0].Protocol; got != xds.ProtocolSotW {
			t.Errorf("protocol in the status is %v", got)
		}

		// The choice is kept.
		l.end(errReset)
		time.Sleep(time.Second)
		if l = s.accept(); l.method != xds.SotWMethod {
			t.Errorf("method after reconnecting is %s", l.method)
		}
	})
}

func TestServerThatKnowsNeitherForm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		s.refuses("", errUnimplemented)
		c := s.client()
		w := &log{}
		c.Watch(listenerURL, "a", w)
		w.want(t, `error: xds: Listener "a" from cp:1: unavailable: rpc error: code = Unimplemented desc = unknown method`)
		time.Sleep(time.Second)
		synctest.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		if d := cmp.Diff([]string{xds.DeltaMethod, xds.SotWMethod, xds.DeltaMethod, xds.SotWMethod}, s.methods); d != "" {
			t.Errorf("streams (-want +got):\n%s", d)
		}
	})
}

func TestPinnedProtocolStays(t *testing.T) {
	for protocol, method := range map[xds.Protocol]string{xds.ProtocolDelta: xds.DeltaMethod, xds.ProtocolSotW: xds.SotWMethod} {
		synctest.Test(t, func(t *testing.T) {
			s := newScript(t)
			s.refuses("", errUnimplemented)
			c := s.client(pin(protocol))
			c.Watch(listenerURL, "a", &log{})
			time.Sleep(time.Second)
			synctest.Wait()
			s.mu.Lock()
			defer s.mu.Unlock()
			if d := cmp.Diff([]string{method, method}, s.methods); d != "" {
				t.Errorf("streams (-want +got):\n%s", d)
			}
		})
	}
}

// Consul's server: SotW ends with an error that is not UNIMPLEMENTED.
func TestDeltaOnlyServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		s.refuses(xds.SotWMethod, grpcstatus.Error(codes.InvalidArgument, "delta only"))
		c := s.client()
		w := &log{}
		c.Watch(listenerURL, "a", w)
		s.accept().say(deltaOf(listenerURL, "n1", "v1", "a=1"))
		w.want(t, "a=1@v1")
	})
}

func TestSotWNamesVersionsAndNonces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c, l, w := watching(t, []string{"b", "a"}, pin(xds.ProtocolSotW))
		l.say(sotwOf(listenerURL, "n1", "v1", "a=1", "b=bad", "c=1"))
		nack := sotwRequest(listenerURL, "", "n1", "a", "b")
		nack.ErrorDetail = &status.Status{Code: 3, Message: "Listener b: filters[2].config: bad"}
		l.wantSotW(nack)
		w[0].want(t, `error: xds: Listener "b" from cp:1: filters[2].config: bad`)
		w[1].want(t, "a=1@v1")

		l.say(sotwOf(listenerURL, "n2", "v2", "a=1", "b=2"))
		l.wantSotW(sotwRequest(listenerURL, "v2", "n2", "a", "b"))
		w[0].want(t, "b=2@v2")
		w[1].want(t)

		// A NACK keeps the last good version; names go with the last nonce.
		l.say(sotwOf(listenerURL, "n3", "v3", "a=bad", "b=2"))
		nack = sotwRequest(listenerURL, "v2", "n3", "a", "b")
		nack.ErrorDetail = &status.Status{Code: 3, Message: "Listener a: filters[2].config: bad"}
		l.wantSotW(nack)
		cancel := c.Watch(listenerURL, "c", &log{})
		l.wantSotW(sotwRequest(listenerURL, "v2", "n3", "a", "b", "c"))
		cancel()
		l.wantSotW(sotwRequest(listenerURL, "v2", "n3", "a", "b"))
	})
}

func TestSotWDeletion(t *testing.T) {
	const gone = `xds: Listener "a" from cp:1: does not exist: removed by the server`
	for name, test := range map[string]struct {
		change func(*xds.Config)
		want   string
	}{
		"keep":                {func(*xds.Config) {}, "ambient: " + gone},
		"fail on data errors": {failOnDataErrors, "error: " + gone},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, c, l, w := watching(t, []string{"a", "b"}, pin(xds.ProtocolSotW), test.change)
				e := &log{}
				c.Watch(endpointURL, "e", e)
				next(l, &discoveryv3.DiscoveryRequest{})
				l.say(sotwOf(endpointURL, "e1", "v1", "e=1"))
				l.say(sotwOf(listenerURL, "n1", "v1", "a=1"))
				w[0].want(t, "a=1@v1")
				e.want(t, "e=1@v1")

				// A response with something unreadable in it may have meant the listener.
				r := sotwOf(listenerURL, "n2", "v2")
				r.Resources = append(r.Resources, body(listenerURL, "garbage"))
				l.say(r)
				w[0].want(t)

				// One that is bad is not gone.
				l.say(sotwOf(listenerURL, "n3", "v3", "a=bad"))
				l.say(sotwOf(listenerURL, "n3", "v3", "a=1"))
				synctest.Wait()
				if got := len(w[0].lines); got != 2 {
					t.Errorf("watcher was told %q", w[0].lines)
				}
				w[0].lines = nil

				l.say(sotwOf(listenerURL, "n4", "v4"))
				w[0].want(t, test.want)
				w[1].want(t) // it may still come
				l.say(sotwOf(listenerURL, "n5", "v5"))
				w[0].want(t)

				// Endpoints need not be repeated.
				l.say(sotwOf(endpointURL, "e2", "v2"))
				e.want(t)

				l.say(sotwOf(listenerURL, "n6", "v6", "a=1"))
				w[0].want(t, "a=1@v6")
			})
		})
	}
}

func TestSotWUnchangedIsNotDecoded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c, l, w := watching(t, []string{"a", "b"}, pin(xds.ProtocolSotW))
		l.say(sotwOf(listenerURL, "n1", "v1", "a=1", "b=1"))
		l.say(sotwOf(listenerURL, "n2", "v2", "a=1", "b=2"))
		w[0].want(t, "a=1@v1")
		w[1].want(t, "b=1@v1", "b=2@v2")
		if n := s.decoder.count(); n != 3 {
			t.Errorf("%d resources were decoded", n)
		}
		if r := c.ResourceStatus()[0]; r.Version != "v2" {
			t.Errorf("version of a is %s", r.Version)
		}
		// Going back to bytes that were once held is a change.
		l.say(sotwOf(listenerURL, "n3", "v3", "a=1", "b=1"))
		w[1].want(t, "b=1@v3")
	})
}

func TestSotWResourceWrapper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, l, w := watching(t, []string{"a", "b"}, pin(xds.ProtocolSotW))
		l.say(&discoveryv3.DiscoveryResponse{TypeUrl: listenerURL, Nonce: "n1", VersionInfo: "v1", Resources: []*anypb.Any{
			wrapped(t, &discoveryv3.Resource{Name: "a", Version: "own", Resource: body(listenerURL, "a=1"), Ttl: durationpb.New(time.Minute)}),
			wrapped(t, &discoveryv3.Resource{Resource: body(listenerURL, "b=1")}), // the body tells the name
		}})
		w[0].want(t, "a=1@own")
		w[1].want(t, "b=1@v1")
		// A heartbeat.
		time.Sleep(40 * time.Second)
		l.say(&discoveryv3.DiscoveryResponse{TypeUrl: listenerURL, Nonce: "n2", VersionInfo: "v1", Resources: []*anypb.Any{
			wrapped(t, &discoveryv3.Resource{Name: "a", Version: "own", Ttl: durationpb.New(time.Minute)}),
			body(listenerURL, "b=1"),
		}})
		l.wantSotW(sotwRequest(listenerURL, "v1", "n1", "a", "b"))
		l.wantSotW(sotwRequest(listenerURL, "v1", "n2", "a", "b"))
		time.Sleep(59 * time.Second)
		w[0].want(t)
		time.Sleep(time.Second)
		w[0].want(t, `error: xds: Listener "a" from cp:1: does not exist: its time to live ended without a heartbeat`)
		w[1].want(t)
	})
}

// The version of the last stream is claimed only by who has all there was in it.
func TestSotWReconnectClaimsVersion(t *testing.T) {
	for name, test := range map[string]struct {
		names []string
		want  string
	}{
		"all held":     {[]string{"a"}, "v1"},
		"one to fetch": {[]string{"a", "new"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, _, l, w := watching(t, test.names, pin(xds.ProtocolSotW))
				l.say(sotwOf(listenerURL, "n1", "v1", "a=1"))
				w[0].want(t, "a=1@v1")
				l.end(errReset)
				time.Sleep(time.Second)
				l = s.accept()
				got := next(l, &discoveryv3.DiscoveryRequest{})
				if got.VersionInfo != test.want || got.ResponseNonce != "" {
					t.Errorf("version %q, nonce %q", got.VersionInfo, got.ResponseNonce)
				}
			})
		})
	}
}

// A delta version means nothing to SotW, nor the other way round.
func TestVersionsDoNotCrossDialects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, l, w := watching(t, []string{"a"})
		l.say(deltaOf(listenerURL, "n1", "v1", "a=1"))
		w[0].want(t, "a=1@v1")
		s.refuses(xds.DeltaMethod, errUnimplemented)
		l.end(errReset)
		time.Sleep(time.Second)
		l = s.accept()
		if got := next(l, &discoveryv3.DiscoveryRequest{}); got.VersionInfo != "" {
			t.Errorf("version %q is claimed", got.VersionInfo)
		}
		l.say(sotwOf(listenerURL, "m1", "s1", "a=1"))
		s.refuses(xds.DeltaMethod, nil)
		s.refuses(xds.SotWMethod, errUnimplemented)
		l.end(errReset)
		time.Sleep(5 * time.Second)
		l = s.accept()
		if got := next(l, &discoveryv3.DeltaDiscoveryRequest{}); len(got.InitialResourceVersions) > 0 {
			t.Errorf("versions %v are claimed", got.InitialResourceVersions)
		}
		w[0].want(t, `ambient: xds: Listener "a" from cp:1: unavailable: rpc error: code = Unimplemented desc = unknown method`)
	})
}
