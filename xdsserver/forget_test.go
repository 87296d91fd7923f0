package xdsserver

import (
	"strings"
	"testing"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
)

// A client that unsubscribes and subscribes to everything again, both before it has
// read a response, keeps what that response holds. It has to be told what of that is
// gone, in whichever order the receiver and the sender do their work.
func TestDeltaForgets(t *testing.T) {
	t.Run("acknowledged before the sender came to it", func(t *testing.T) {
		s, d := deltaDesk(t, "LDS/gone=1")
		d.asks(t, "LDS", "*")
		d.tells(t, "LDS gone=1")
		d.asks(t, "LDS", "-*")
		apply(t, s)
		d.asks(t, "LDS", "*")
		d.acks(t, "LDS", "1") // the client has read it, and wants it
		d.tells(t, "LDS -gone")
	})
	t.Run("unsubscribed before the sender came to it", func(t *testing.T) {
		s, d := deltaDesk(t, "LDS/gone=1")
		d.asks(t, "LDS", "*")
		d.tells(t, "LDS gone=1")
		d.acks(t, "LDS", "1")
		d.asks(t, "LDS", "-*")
		d.asks(t, "LDS", "*")
		d.asks(t, "LDS", "-*")
		d.tells(t) // or it would be on its way, unknown to the next request
		apply(t, s)
		d.asks(t, "LDS", "*")
		d.tells(t)
	})
	t.Run("about to be told", func(t *testing.T) {
		s, d := deltaDesk(t, "CDS/gone=1", "RDS/r=1")
		d.asks(t, "CDS", "*")
		d.tells(t, "CDS gone=1")
		d.acks(t, "CDS", "1")
		apply(t, s, "CDS/gone=2", "RDS/r=1")
		d.tells(t, "CDS gone=2")
		d.takes(t, &discovery.DeltaDiscoveryRequest{
			TypeUrl: short["RDS"], ResourceNamesSubscribe: []string{"*"}, InitialResourceVersions: map[string]string{"old": "1"},
		})
		apply(t, s, "RDS/r=1")
		d.tells(t, "RDS r=1") // what is gone has to wait for the answer to this
		d.asks(t, "CDS", "-*")
		d.acks(t, "RDS", "3")
		d.tells(t, "RDS -old")
		d.asks(t, "CDS", "*")
		d.tells(t, "CDS -gone")
	})
}

// What the client has and is gone may be what its routes lead to. To ask for it by name
// must not have it told before the routes are.
func TestDeltaAskedForWhatIsLeaving(t *testing.T) {
	_, d := deltaDesk(t, "CDS/new=1", "RDS/r=to-new")
	d.takes(t, &discovery.DeltaDiscoveryRequest{
		TypeUrl: short["CDS"], ResourceNamesSubscribe: []string{"*"}, InitialResourceVersions: map[string]string{"old": "1"},
	})
	d.tells(t, "CDS new=1")
	d.asks(t, "CDS", "old")
	d.tells(t)
	d.asks(t, "RDS", "*")
	d.acks(t, "CDS", "1")
	d.tells(t, "RDS r=to-new", "CDS -old")
}

func deltaDesk(t *testing.T, texts ...string) (*Server, *desk) {
	t.Helper()
	s := New(Options{Logger: discard()})
	s.patience = time.Hour
	apply(t, s, texts...)
	d := newDesk(t, s, true)
	t.Cleanup(d.close)
	return s, d
}

func (d *desk) takes(t *testing.T, req *discovery.DeltaDiscoveryRequest) {
	t.Helper()
	if err := d.handle(marshal(t, req)); err != nil {
		t.Fatal(err)
	}
}

// asks is a request for a name, or with a leading "-" that for no longer wanting it.
func (d *desk) asks(t *testing.T, typ, name string) {
	t.Helper()
	req := &discovery.DeltaDiscoveryRequest{TypeUrl: short[typ]}
	if off, ok := strings.CutPrefix(name, "-"); ok {
		req.ResourceNamesUnsubscribe = []string{off}
	} else {
		req.ResourceNamesSubscribe = []string{name}
	}
	d.takes(t, req)
}

func (d *desk) acks(t *testing.T, typ, nonce string) {
	t.Helper()
	d.takes(t, &discovery.DeltaDiscoveryRequest{TypeUrl: short[typ], ResponseNonce: nonce})
}

// tells compares what the sender sends when it wakes, as showDelta writes it.
func (d *desk) tells(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	for _, raw := range d.answer(t) {
		var resp discovery.DeltaDiscoveryResponse
		if err := proto.Unmarshal(raw, &resp); err != nil {
			t.Fatal(err)
		}
		got = append(got, showDelta(&resp))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("responses (-want +got):\n%s", diff)
	}
}
