package xdsserver

import (
	"fmt"
	"strings"
	"testing"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

func TestDeltaWildcardSendsOnlyWhatChanges(t *testing.T) {
	for name, first := range map[string][]string{"legacy": nil, "explicit": {"*"}} {
		t.Run(name, func(t *testing.T) {
			s, cc := start(t, Options{}, "CDS/a=1", "CDS/b=1", "LDS/l=1")
			c := openDelta(t, cc)
			c.subscribe("CDS", first...)
			c.expect("CDS a=1 b=1")
			apply(t, s, "CDS/a=1", "CDS/b=2", "LDS/l=2")
			c.expect("CDS b=2")
			apply(t, s, "CDS/a=1", "CDS/b=2", "CDS/c=1")
			c.expect("CDS c=1")
			apply(t, s, "CDS/a=1", "CDS/c=1")
			c.expect("CDS -b")
			apply(t, s, "CDS/c=1", "CDS/a=1")
			c.quiet()
		})
	}
}

func TestDeltaWildcardOfEveryType(t *testing.T) {
	_, cc := start(t, Options{}, "LDS/x=1", "RDS/x=1", "CDS/x=1", "EDS/x=1", "SDS/x=1")
	c := openDelta(t, cc)
	for _, typ := range []string{"LDS", "RDS", "CDS", "EDS", "SDS"} {
		c.subscribe(typ, "*")
		c.expect(typ + " x=1")
	}
}

func TestDeltaWildcardOfNothingIsAnswered(t *testing.T) {
	s, cc := start(t, Options{}, "EDS/e=1")
	c := openDelta(t, cc)
	c.subscribe("CDS")
	c.expect("CDS")
	c.subscribe("EDS") // only roots have the legacy wildcard
	c.quiet()
	apply(t, s, "CDS/a=1", "EDS/e=2")
	c.expect("CDS a=1")
	c.quiet()
}

func TestDeltaMissingNameIsAnsweredAtOnceAndRemembered(t *testing.T) {
	s, cc := start(t, Options{}, "EDS/a=1")
	c := openDelta(t, cc)
	c.subscribe("EDS", "a", "late")
	c.expect("EDS a=1 -late")
	c.subscribe("EDS", "later")
	c.expect("EDS -later")
	apply(t, s, "EDS/a=1", "EDS/late=1", "EDS/other=1")
	c.expect("EDS late=1")
	c.quiet()
}

func TestDeltaUnknownTypeIsAnswered(t *testing.T) {
	_, cc := start(t, Options{}, "CDS/a=1")
	c := openDelta(t, cc)
	c.send(&discovery.DeltaDiscoveryRequest{TypeUrl: "type.googleapis.com/some.Type", ResourceNamesSubscribe: []string{"x"}})
	c.expect("type.googleapis.com/some.Type -x")
}

func TestDeltaWaitsForTheFirstApply(t *testing.T) {
	s, cc := start(t, Options{})
	c := openDelta(t, cc)
	c.subscribe("EDS", "missing", "present")
	c.subscribe("CDS")
	for len(s.Clients()) == 0 || len(s.Clients()[0].Types) < 2 { // until both requests were read
	}
	apply(t, s, "EDS/present=1")
	c.expect("CDS")
	c.expect("EDS present=1 -missing")
}

func TestDeltaUnsubscribe(t *testing.T) {
	s, cc := start(t, Options{}, "EDS/a=1", "EDS/b=1")
	c := openDelta(t, cc)
	c.subscribe("EDS", "a", "b")
	c.expect("EDS a=1 b=1")
	c.subscribe("EDS", "-a", "-never")
	c.quiet()
	apply(t, s, "EDS/a=2", "EDS/b=2")
	c.expect("EDS b=2")
	c.subscribe("EDS", "a")
	c.expect("EDS a=2")
	c.subscribe("EDS", "-a", "a") // the client wants it, and may have dropped it
	c.expect("EDS a=2")
}

func TestDeltaSubscribingAgainIsAnswered(t *testing.T) {
	_, cc := start(t, Options{}, "EDS/a=1", "EDS/b=1")
	c := openDelta(t, cc)
	c.subscribe("EDS", "a", "b")
	c.expect("EDS a=1 b=1")
	c.subscribe("EDS", "a")
	c.expect("EDS a=1")
	c.subscribe("EDS", "*")
	c.expect("EDS a=1 b=1")
}

func TestDeltaLegacyWildcardEnds(t *testing.T) {
	s, cc := start(t, Options{}, "CDS/a=1", "CDS/b=1")
	c := openDelta(t, cc)
	c.subscribe("CDS")
	c.expect("CDS a=1 b=1")
	c.subscribe("CDS", "a")
	c.expect("CDS a=1")
	apply(t, s, "CDS/a=2", "CDS/b=2")
	c.expect("CDS a=2 b=2")
	c.subscribe("CDS", "-*")
	c.quiet()
	apply(t, s, "CDS/a=3", "CDS/b=3")
	c.expect("CDS a=3")
	c.subscribe("CDS", "-a")
	c.quiet()
	apply(t, s, "CDS/a=4", "CDS/b=4")
	c.quiet()
}

// What a client wanted no longer, and wants again as one of all before it read what
// was on its way, has to be told gone.
func TestDeltaWildcardTakenBackAndWantedAgain(t *testing.T) {
	for name, first := range map[string]string{"wildcard": "*", "name": "a"} {
		t.Run(name, func(t *testing.T) {
			s, cc := start(t, Options{}, "CDS/a=1", "CDS/b=1")
			c := openDelta(t, cc)
			c.subscribe("CDS", first)
			onItsWay := c.recv()
			c.subscribe("CDS", "-"+first)
			c.quiet()
			apply(t, s, "CDS/b=1")
			c.quiet()
			c.subscribe("CDS", "*")
			c.expect("CDS b=1")
			c.expect("CDS -a")
			c.ack(onItsWay)

			c.subscribe("CDS", "-*")
			c.subscribe("CDS", "*")
			c.expect("CDS b=1")
		})
	}
}

func TestDeltaNameDroppedUnderWildcardIsSentAgain(t *testing.T) {
	_, cc := start(t, Options{}, "CDS/a=1", "CDS/b=1")
	c := openDelta(t, cc)
	c.subscribe("CDS", "*", "a", "nothing")
	c.expect("CDS a=1 b=1 -nothing")
	c.subscribe("CDS", "-a", "-nothing")
	c.expect("CDS a=1")
	c.quiet()
}

// held subscribes to names, telling what the client has.
func held(c *deltaClient, typ string, versions map[string]string, names ...string) {
	c.t.Helper()
	c.send(&discovery.DeltaDiscoveryRequest{
		TypeUrl: short[typ], ResourceNamesSubscribe: names, InitialResourceVersions: versions,
	})
}

func TestDeltaReconnectSendsOnlyTheDifference(t *testing.T) {
	s, cc := start(t, Options{}, "EDS/same=1", "EDS/changed=1", "EDS/gone=1")
	c := openDelta(t, cc)
	c.subscribe("EDS", "same", "changed", "gone")
	resp := c.recv()
	versions := make(map[string]string)
	for _, r := range resp.GetResources() {
		versions[r.GetName()] = r.GetVersion()
	}
	apply(t, s, "EDS/same=1", "EDS/changed=2", "EDS/new=1")

	t.Run("by name", func(t *testing.T) {
		c := openDelta(t, cc)
		held(c, "EDS", versions, "same", "changed", "gone", "new", "never")
		c.expect("EDS changed=2 new=1 -never")
		c.expect("EDS -gone")
		c.quiet()
	})
	t.Run("wildcard", func(t *testing.T) {
		c := openDelta(t, cc)
		held(c, "EDS", versions, "*")
		c.expect("EDS changed=2 new=1")
		c.expect("EDS -gone")
		c.quiet()
	})
	t.Run("only what is gone", func(t *testing.T) {
		c := openDelta(t, cc)
		held(c, "EDS", versions, "gone")
		resp := c.recv()
		if got := showDelta(resp); got != "EDS" {
			t.Fatalf("first response %q", got)
		}
		c.quiet()
		c.nack(resp, "that counts as well")
		c.expect("EDS -gone")
		c.quiet()
	})
	t.Run("a client that does not answer", func(t *testing.T) {
		s, cc := start(t, Options{}, "EDS/same=1")
		s.patience = time.Millisecond
		c := openDelta(t, cc)
		held(c, "EDS", versions, "gone")
		c.recv()
		c.expect("EDS -gone")
	})
	t.Run("back before it was told gone", func(t *testing.T) {
		s, cc := start(t, Options{}, "EDS/same=1")
		c := openDelta(t, cc)
		held(c, "EDS", versions, "gone")
		resp := c.recv()
		apply(t, s, "EDS/same=1", "EDS/gone=2")
		c.expect("EDS gone=2")
		c.ack(resp)
		c.quiet()
	})
	t.Run("gone before it asked for routes", func(t *testing.T) {
		s, cc := start(t, Options{}, "CDS/old=1", "RDS/r=to-old")
		c := openDelta(t, cc)
		c.subscribe("CDS", "*")
		clusters := c.recv()
		c.subscribe("RDS", "*")
		routes := c.recv()
		versions := func(resp *discovery.DeltaDiscoveryResponse) map[string]string {
			return map[string]string{resp.GetResources()[0].GetName(): resp.GetResources()[0].GetVersion()}
		}

		c = openDelta(t, cc)
		held(c, "CDS", versions(clusters), "*")
		c.quiet() // it has everything
		apply(t, s, "CDS/new=1", "RDS/r=to-new")
		resp := c.recv()
		if got := showDelta(resp); got != "CDS new=1" {
			t.Fatalf("first response %q", got)
		}
		held(c, "RDS", versions(routes), "*")
		c.expect("RDS r=to-new")
		c.ack(resp)
		c.expect("CDS -old")
		c.quiet()
	})
	t.Run("listeners are told at once", func(t *testing.T) {
		c := openDelta(t, cc)
		held(c, "LDS", versions, "gone")
		c.expect("LDS -gone")
	})
	t.Run("names held but not wanted", func(t *testing.T) {
		c := openDelta(t, cc)
		held(c, "EDS", versions, "same")
		c.quiet()
	})
	t.Run("a restarted server has the same versions", func(t *testing.T) {
		again, cc := start(t, Options{}, "EDS/same=1", "EDS/changed=2", "EDS/new=1")
		if got, want := again.Version(), s.Version(); got != want {
			t.Errorf("version %q after a restart, %q before", got, want)
		}
		c := openDelta(t, cc)
		held(c, "EDS", versions, "same")
		c.quiet()
	})
}

func TestDeltaTakenBackChangeCostsNothing(t *testing.T) {
	s, cc := start(t, Options{}, "EDS/a=1")
	c := openDelta(t, cc)
	c.subscribe("EDS", "a")
	c.expect("EDS a=1")
	st := onlyStream(t, s)
	st.mu.Lock() // the sender cannot look before both were applied
	apply(t, s, "EDS/a=2")
	apply(t, s, "EDS/a=1")
	st.mu.Unlock()
	c.quiet()
}

func onlyStream(t *testing.T, s *Server) *stream {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for st := range s.streams {
		return st
	}
	t.Fatal("no stream")
	return nil
}

func TestDeltaRejectedResponseIsNotSentAgain(t *testing.T) {
	var log logged
	s, cc := start(t, Options{Logger: textLogger(&log)}, "CDS/a=1", "EDS/a=1")
	c := openDelta(t, cc)
	c.send(&discovery.DeltaDiscoveryRequest{Node: node("web-1"), TypeUrl: short["CDS"]})
	resp := c.recv()
	c.nack(resp, "a: no such policy")
	c.nack(resp, "a: no such policy")
	c.quiet()
	if got := log.count("no such policy"); got != 1 {
		t.Errorf("logged %d times, want once", got)
	}
	for _, want := range []string{"node=web-1", "type=" + short["CDS"], "WARN"} {
		if log.count(want) == 0 {
			t.Errorf("log says nothing of %q", want)
		}
	}
	rejected := typesOf(t, s)["CDS"]
	if rejected.Rejection == nil || rejected.Rejection.Message != "a: no such policy" || rejected.Accepted != "" {
		t.Errorf("status after a NACK: %+v", rejected)
	}

	apply(t, s, "CDS/a=1", "EDS/a=2") // something else
	c.quiet()
	apply(t, s, "CDS/a=2", "EDS/a=2")
	c.expect("CDS a=2")
	c.quiet()
	accepted := typesOf(t, s)["CDS"]
	if accepted.Rejection != nil || accepted.Accepted != accepted.Sent || accepted.Sent == "" || accepted.Pending() {
		t.Errorf("status after an ACK: %+v", accepted)
	}
}

func TestDeltaMakesBeforeItBreaks(t *testing.T) {
	s, cc := start(t, Options{}, "SDS/s=1", "CDS/old=1", "EDS/old=1", "LDS/l=1", "LDS/x=1", "RDS/r=1", "RDS/y=1")
	c := openDelta(t, cc)
	for _, typ := range []string{"RDS", "LDS", "EDS", "CDS", "SDS"} { // the order of asking does not matter
		c.subscribe(typ, "*")
		c.recv()
	}
	c.quiet()
	apply(t, s, "SDS/t=1", "CDS/new=1", "EDS/new=1", "LDS/l=2", "RDS/r=2")
	for _, want := range []string{
		"SDS t=1", "CDS new=1", "EDS new=1", "LDS l=2 -x", "RDS r=2",
		"RDS -y", "CDS -old", "EDS -old", "SDS -s",
	} {
		c.expect(want)
	}
	c.quiet()
}

func TestDeltaLargeAnswerIsCut(t *testing.T) {
	var texts []string
	for i := range 20 {
		texts = append(texts, fmt.Sprintf("EDS/big%02d=%s", i, padded(300<<10)))
	}
	_, cc := start(t, Options{}, texts...)
	c := openDelta(t, cc)
	c.subscribe("EDS", "*")
	total, responses := 0, 0
	for total < 20 {
		resp := c.recv()
		size := 0
		for _, r := range resp.GetResources() {
			size += len(r.GetResource().GetValue())
		}
		if size > maxResponse {
			t.Fatalf("a response with %d bytes of resources", size)
		}
		total += len(resp.GetResources())
		responses++
	}
	if total != 20 || responses < 3 {
		t.Errorf("%d resources in %d responses", total, responses)
	}
	c.quiet()
}

func TestDeltaManyMissingNamesAreCut(t *testing.T) {
	_, cc := start(t, Options{MaxRequestBytes: 8 << 20}, "EDS/a=1")
	c := openDelta(t, cc)
	var names []string
	for i := range 5000 {
		names = append(names, fmt.Sprintf("%04d%s", i, strings.Repeat("n", 1000)))
	}
	c.subscribe("EDS", names...)
	for total := 0; total < len(names); {
		total += len(c.recv().GetRemovedResources()) // fails over 4 MiB
	}
	c.quiet()
}
