package balancer

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAddressOrder(t *testing.T) {
	v4, v6 := []string{"10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"}, []string{"[fd00::1]:1", "[fd00::2]:1"}
	for _, c := range []struct {
		name   string
		policy Connection
		of     []string
		want   []string
	}{
		{"one", Connection{FirstFamily: IPv6}, v4[:1], v4[:1]},
		{"by the first", Connection{}, slices.Concat(v4, v6), []string{v4[0], v6[0], v4[1], v6[1], v4[2]}},
		{"the first is v6", Connection{}, slices.Concat(v6, v4), []string{v6[0], v4[0], v6[1], v4[1], v4[2]}},
		{"v6 first", Connection{FirstFamily: IPv6}, slices.Concat(v4, v6), []string{v6[0], v4[0], v6[1], v4[1], v4[2]}},
		{"two of v4", Connection{FirstFamily: IPv4, FirstFamilyCount: 2}, slices.Concat(v6, v4), []string{v4[0], v4[1], v6[0], v4[2], v6[1]}},
		{"no such family", Connection{FirstFamily: IPv6}, v4, v4},
		{"more than there are", Connection{FirstFamilyCount: 9}, slices.Concat(v6, v4), []string{v6[0], v6[1], v4[0], v4[1], v4[2]}},
	} {
		if diff := cmp.Diff(c.want, c.policy.order(slices.Clone(c.of))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

// dialled is what a race did.
type dialled struct {
	mu     sync.Mutex
	began  map[string]time.Duration
	closed int
}

type closable struct {
	net.Conn
	of   *dialled
	from string
}

func (c *closable) Close() error {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	c.of.closed++
	return nil
}

// TestRace has addresses that answer, refuse and hang (RFC 8305).
func TestRace(t *testing.T) {
	type answer struct {
		after time.Duration // < 0 for never
		err   error
	}
	refused := errors.New("refused")
	for _, c := range []struct {
		name    string
		answers map[string]answer
		order   []string
		want    string
		took    time.Duration
		began   map[string]time.Duration
	}{
		{
			name: "the first answers", order: []string{"a", "b"}, want: "a", took: 200 * time.Millisecond,
			answers: map[string]answer{"a": {after: 200 * time.Millisecond}},
			began:   map[string]time.Duration{"a": 0},
		},
		{
			name: "the first hangs", order: []string{"a", "b", "c"}, want: "b", took: 300 * time.Millisecond,
			answers: map[string]answer{"a": {after: -1}, "b": {after: 50 * time.Millisecond}},
			began:   map[string]time.Duration{"a": 0, "b": 250 * time.Millisecond},
		},
		{
			name: "the first is late and wins", order: []string{"a", "b"}, want: "a", took: 260 * time.Millisecond,
			answers: map[string]answer{"a": {after: 260 * time.Millisecond}, "b": {after: time.Second}},
			began:   map[string]time.Duration{"a": 0, "b": 250 * time.Millisecond},
		},
		{
			name: "the first refuses", order: []string{"a", "b"}, want: "b", took: 20 * time.Millisecond,
			answers: map[string]answer{"a": {10 * time.Millisecond, refused}, "b": {after: 10 * time.Millisecond}},
			began:   map[string]time.Duration{"a": 0, "b": 10 * time.Millisecond},
		},
		{
			name: "all refuse", order: []string{"a", "b"}, took: 20 * time.Millisecond,
			answers: map[string]answer{"a": {10 * time.Millisecond, refused}, "b": {10 * time.Millisecond, refused}},
			began:   map[string]time.Duration{"a": 0, "b": 10 * time.Millisecond},
		},
		{
			name: "all hang", order: []string{"a", "b"}, took: 5 * time.Second,
			answers: map[string]answer{"a": {after: -1}, "b": {after: -1}},
			began:   map[string]time.Duration{"a": 0, "b": 250 * time.Millisecond},
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			d := &dialled{began: map[string]time.Duration{}}
			start := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			conn, err := race(ctx, c.order, func(ctx context.Context, address string) (net.Conn, error) {
				d.mu.Lock()
				d.began[address] = time.Since(start)
				d.mu.Unlock()
				a := c.answers[address]
				if a.after < 0 {
					<-ctx.Done()
					return nil, ctx.Err()
				}
				time.Sleep(a.after) // does not heed its context
				if a.err != nil {
					return nil, a.err
				}
				return &closable{of: d, from: address}, nil
			})
			took := time.Since(start)
			synctest.Wait()
			time.Sleep(time.Minute) // what lost ends
			synctest.Wait()
			if c.want == "" {
				if err == nil {
					t.Errorf("%s: connected", c.name)
				}
			} else if err != nil || conn.(*closable).from != c.want {
				t.Errorf("%s: %v, %v, want %s", c.name, conn, err, c.want)
			}
			if took != c.took {
				t.Errorf("%s: took %v, want %v", c.name, took, c.took)
			}
			if diff := cmp.Diff(c.began, d.began); diff != "" {
				t.Errorf("%s: began (-want +got):\n%s", c.name, diff)
			}
			if c.name == "the first is late and wins" && d.closed != 1 {
				t.Errorf("%s: %d connections that lost were closed, want 1", c.name, d.closed)
			}
		})
	}
}

// TestLogicalDNSDialsAllAddresses has a name with several addresses, of which the first
// refuses connections.
func TestLogicalDNSDialsAllAddresses(t *testing.T) {
	c := NewCluster("c", ClusterOptions{Logger: quiet, Resolver: dualStack{}})
	defer c.Close()
	c.Configure(&Config{Discovery: DiscoverLogicalDNS, DNS: DNS{Family: FamilyAll}, Static: one(at("h.example:80"))})
	<-c.Settled()
	v := c.View(&fakeConnector{}, ViewOptions{OnDemand: true})
	l, err := v.Pick(PickInfo{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Done(Outcome{})
	var tried []string
	errRefused := errors.New("refused")
	_, err = l.Endpoint().Dial(t.Context(), l.Endpoint().Address(), func(_ context.Context, _, address string) (net.Conn, error) {
		tried = append(tried, address) // one after the other, as each refuses
		return nil, errRefused
	})
	if !errors.Is(err, errRefused) {
		t.Errorf("%v", err)
	}
	slices.Sort(tried)
	if diff := cmp.Diff([]string{"192.0.2.1:80", "[2001:db8::1]:80"}, tried); diff != "" {
		t.Errorf("tried (-want +got):\n%s", diff)
	}
}

type dualStack struct{}

func (dualStack) LookupIP(context.Context, string, string) ([]netip.Addr, time.Duration, error) {
	return []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}, 0, nil
}
