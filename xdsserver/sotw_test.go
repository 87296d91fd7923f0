package xdsserver

import (
	"fmt"
	"log/slog"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

func node(id string) *corev3.Node { return &corev3.Node{Id: id} }

func textLogger(w *logged) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

func TestSotWRootsAreSentWhole(t *testing.T) {
	for name, names := range map[string][]string{"legacy wildcard": nil, "explicit wildcard": {"*"}, "names": {"a", "b", "c"}} {
		t.Run(name, func(t *testing.T) {
			s, cc := start(t, Options{}, "CDS/a=a1", "CDS/b=b1", "EDS/e=e1")
			c := openSotW(t, cc)
			c.request("CDS", names...)
			c.expect("CDS a1 b1")
			c.quiet()
			apply(t, s, "CDS/a=a1", "CDS/b=b2", "EDS/e=e2")
			c.expect("CDS a1 b2")
			apply(t, s, "CDS/a=a1", "CDS/b=b2", "CDS/c=c1", "EDS/e=e2")
			c.expect("CDS a1 b2 c1")
			apply(t, s, "CDS/a=a1", "CDS/c=c1", "EDS/e=e2")
			c.expect("CDS a1 c1")
			apply(t, s, "CDS/a=a1", "CDS/c=c1", "EDS/e=e3")
			c.quiet()
		})
	}
}

func TestSotWOtherTypesSendOnlyChanges(t *testing.T) {
	s, cc := start(t, Options{}, "EDS/a=a1", "EDS/b=b1", "EDS/c=c1")
	c := openSotW(t, cc)
	c.request("EDS", "a", "b")
	c.expect("EDS a1 b1")
	c.request("EDS", "a", "b", "c", "late")
	c.expect("EDS c1")
	apply(t, s, "EDS/a=a2", "EDS/b=b1", "EDS/c=c1", "EDS/d=d1")
	c.expect("EDS a2")
	apply(t, s, "EDS/a=a2", "EDS/b=b1", "EDS/c=c1", "EDS/late=l1")
	c.expect("EDS l1")
	c.request("EDS", "b", "c")
	c.quiet()
	apply(t, s, "EDS/a=a3", "EDS/b=b2", "EDS/c=c1")
	c.expect("EDS b2")
	c.request("EDS", "a", "b", "c")
	c.expect("EDS a3")
	apply(t, s, "EDS/a=a3", "EDS/b=b2") // no way to say that c is gone
	c.quiet()
	apply(t, s, "EDS/a=a3", "EDS/b=b2", "EDS/c=c1")
	c.expect("EDS c1")
	c.quiet()
}

func TestSotWMissingRootIsAnswered(t *testing.T) {
	_, cc := start(t, Options{}, "LDS/a=a1")
	c := openSotW(t, cc)
	c.request("LDS", "nothing")
	c.expect("LDS")
	c.request("LDS", "nothing", "a")
	c.expect("LDS a1")
	c.request("LDS", "a")
	c.quiet()
	c.request("RDS", "nothing")
	c.quiet()
}

func TestSotWLegacyWildcardEnds(t *testing.T) {
	s, cc := start(t, Options{}, "CDS/a=a1", "CDS/b=b1")
	c := openSotW(t, cc)
	c.request("CDS")
	c.expect("CDS a1 b1")
	c.request("CDS", "*", "a")
	c.expect("CDS a1 b1")
	c.request("CDS", "a")
	c.quiet()
	apply(t, s, "CDS/a=a2", "CDS/b=b2")
	c.expect("CDS a2")
	c.request("CDS") // a name was subscribed before: this means none
	c.quiet()
	apply(t, s, "CDS/a=a3", "CDS/b=b3")
	c.quiet()
}

func TestSotWStaleNonceIsIgnored(t *testing.T) {
	s, cc := start(t, Options{}, "EDS/a=a1", "EDS/b=b1")
	c := openSotW(t, cc)
	c.request("EDS", "a")
	first := c.recv()
	c.ack(first)
	c.quiet()
	apply(t, s, "EDS/a=a2", "EDS/b=b1")
	second := c.recv()
	c.send(&discovery.DiscoveryRequest{TypeUrl: short["EDS"], ResourceNames: []string{"a", "b"}, ResponseNonce: first.GetNonce()})
	c.quiet()
	c.send(&discovery.DiscoveryRequest{TypeUrl: short["EDS"], ResourceNames: []string{"a", "b"}, ResponseNonce: second.GetNonce()})
	c.expect("EDS b1")
}

// A client that drops a name and wants it back, both before it saw the newest
// response, is sent the resource again.
func TestSotWNameDroppedByAStaleRequestIsSentAgain(t *testing.T) {
	s, cc := start(t, Options{}, "EDS/a=a1", "EDS/b=b1")
	c := openSotW(t, cc)
	c.request("EDS", "a", "b")
	c.expect("EDS a1 b1")
	c.quiet()
	apply(t, s, "EDS/a=a1", "EDS/b=b2")
	for typesOf(t, s)["EDS"].Sent == c.last[short["EDS"]].GetVersionInfo() { // until the response is on its way
	}
	c.request("EDS", "b")
	c.request("EDS", "a", "b")
	c.expect("EDS b2")
	c.expect("EDS a1")
	c.quiet()
}

func TestSotWNonceOfAnEarlierStreamIsTaken(t *testing.T) {
	_, cc := start(t, Options{}, "CDS/a=a1")
	c := openSotW(t, cc)
	c.send(&discovery.DiscoveryRequest{TypeUrl: short["CDS"], ResponseNonce: "77", VersionInfo: "old"})
	c.expect("CDS a1")
	c.quiet()
}

func TestSotWVersionComesFromContent(t *testing.T) {
	versions := make(map[string]string)
	for i, texts := range [][]string{{"CDS/a=a1", "EDS/a=a1"}, {"EDS/a=a1", "CDS/a=a1"}, {"CDS/a=a2", "EDS/a=a1"}} {
		_, cc := start(t, Options{}, texts...)
		c := openSotW(t, cc)
		c.request("CDS")
		cds := c.recv().GetVersionInfo()
		c.request("EDS", "a")
		versions[fmt.Sprint(i)] = cds + " " + c.recv().GetVersionInfo()
	}
	if versions["0"] != versions["1"] {
		t.Errorf("same content, versions %q and %q", versions["0"], versions["1"])
	}
	if versions["0"] == versions["2"] {
		t.Errorf("other content, same version %q", versions["2"])
	}
}

func TestSotWRejectedResponseIsNotSentAgain(t *testing.T) {
	var log logged
	s, cc := start(t, Options{Logger: textLogger(&log)}, "CDS/a=a1", "EDS/a=a1")
	c := openSotW(t, cc)
	c.node = node("web-2")
	c.request("CDS")
	resp := c.recv()
	c.nack(resp, "cluster a: bad")
	c.nack(resp, "cluster a: bad")
	c.quiet()
	if got := log.count("cluster a: bad"); got != 1 {
		t.Errorf("logged %d times, want once", got)
	}
	if sub := typesOf(t, s)["CDS"]; sub.Rejection == nil || sub.Rejection.Message != "cluster a: bad" {
		t.Errorf("status after a NACK: %+v", sub)
	}
	apply(t, s, "CDS/a=a2", "EDS/a=a1")
	c.expect("CDS a2")
	c.quiet()
	if sub := typesOf(t, s)["CDS"]; sub.Rejection != nil || sub.Accepted != sub.Sent || sub.Sent == "" {
		t.Errorf("status after an ACK: %+v", sub)
	}
}

func TestSotWRejectionMayChangeTheNames(t *testing.T) {
	_, cc := start(t, Options{}, "EDS/a=a1", "EDS/b=b1")
	c := openSotW(t, cc)
	c.request("EDS", "a")
	resp := c.recv()
	c.names[short["EDS"]] = []string{"a", "b"}
	c.nack(resp, "bad")
	c.expect("EDS b1")
	c.quiet()
}

func TestSotWMakesBeforeItBreaks(t *testing.T) {
	s, cc := start(t, Options{}, "CDS/old=old1", "CDS/stay=stay1", "EDS/old=old1", "LDS/l=l1", "LDS/x=x1", "RDS/r=r1")
	c := openSotW(t, cc)
	for _, ask := range [][]string{{"RDS", "r"}, {"LDS"}, {"EDS", "old", "new"}, {"CDS"}} {
		c.request(ask[0], ask[1:]...)
		c.ack(c.recv())
	}
	c.quiet()
	apply(t, s, "CDS/new=new1", "CDS/stay=stay1", "EDS/new=new1", "LDS/l=l2", "RDS/r=r2")
	for _, want := range []string{
		"CDS new1 stay1 old1", "EDS new1", "LDS l2", "RDS r2", "CDS new1 stay1",
	} {
		c.expect(want)
	}
	c.quiet()
	apply(t, s, "CDS/new=new1", "EDS/new=new1", "LDS/l=l2", "RDS/r=r3")
	c.expect("RDS r3")
	c.expect("CDS new1")
	c.quiet()
}

func TestSotWLargeAnswerIsCut(t *testing.T) {
	var texts, names []string
	for i := range 20 {
		names = append(names, fmt.Sprint("big", i))
		texts = append(texts, fmt.Sprintf("EDS/big%d=%s", i, padded(300<<10)))
	}
	s, cc := start(t, Options{}, texts...)
	c := openSotW(t, cc)
	c.request("EDS", names...)
	for total := 0; total < 20; {
		resp := c.recv() // fails over 4 MiB
		total += len(resp.GetResources())
		c.ack(resp)
	}
	c.quiet()
	if sub := typesOf(t, s)["EDS"]; sub.Accepted != sub.Sent || sub.Names != 20 {
		t.Errorf("status: %+v", sub)
	}
}

// An Envoy that speaks state of the world waits for endpoints after each change of
// a cluster, even for those it has. Nobody else does.
func TestSotWEndpointsAreSentAgainToAWarmingEnvoy(t *testing.T) {
	for agent, answered := range map[string]bool{"envoy": true, "gRPC Go": false} {
		t.Run(agent, func(t *testing.T) {
			s, cc := start(t, Options{}, "CDS/a=c1", "EDS/a=e1")
			c := openSotW(t, cc)
			c.node = &corev3.Node{UserAgentName: agent}
			c.request("CDS")
			c.expect("CDS c1")
			c.request("EDS", "a")
			c.expect("EDS e1")
			c.quiet()
			apply(t, s, "CDS/a=c2", "EDS/a=e1")
			c.expect("CDS c2")
			c.request("EDS", "a")
			if answered {
				c.expect("EDS e1")
			}
			c.request("EDS", "a")
			c.quiet()
		})
	}
}
