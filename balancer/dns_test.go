package balancer

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fakeDNS answers as a test says.
type fakeDNS struct {
	mu      sync.Mutex
	answers map[string]dnsAnswer
	asked   []string      // "network host"
	slow    time.Duration // to end when ctx does
	ended   int           // look-ups that did
}

type dnsAnswer struct {
	addresses []string
	ttl       time.Duration
	err       error
	hang      bool
}

func (f *fakeDNS) LookupIP(ctx context.Context, network, host string) ([]netip.Addr, time.Duration, error) {
	f.mu.Lock()
	f.asked = append(f.asked, network+" "+host)
	a := f.answers[host]
	f.mu.Unlock()
	if a.hang {
		<-ctx.Done()
		time.Sleep(f.slow)
		f.mu.Lock()
		f.ended++
		f.mu.Unlock()
		return nil, 0, ctx.Err()
	}
	var list []netip.Addr
	for _, s := range a.addresses {
		list = append(list, netip.MustParseAddr(s))
	}
	return list, a.ttl, a.err
}

func (f *fakeDNS) set(host string, a dnsAnswer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.answers == nil {
		f.answers = map[string]dnsAnswer{}
	}
	f.answers[host] = a
}

func (f *fakeDNS) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.asked)
}

func ips(list ...string) dnsAnswer { return dnsAnswer{addresses: list} }

func dnsCluster(t *testing.T, f *fakeDNS, config *Config) *Cluster {
	c := NewCluster("c", ClusterOptions{Logger: quiet, Resolver: f})
	t.Cleanup(c.Close)
	c.Configure(config)
	synctest.Wait()
	return c
}

func endpointAddresses(c *Cluster) (list []string) {
	for _, e := range c.Endpoints() {
		list = append(list, e.Address())
	}
	return list
}

func wantEndpoints(t *testing.T, c *Cluster, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, endpointAddresses(c)); diff != "" {
		t.Errorf("endpoints (-want +got):\n%s", diff)
	}
}

func TestStrictDNS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := new(fakeDNS)
		f.set("a.test", ips("10.0.0.1", "10.0.0.2"))
		f.set("b.test", ips("fd00::1"))
		static := two([]EndpointConfig{{Address: "a.test:80", Weight: 3}}, []EndpointConfig{
			{Address: "b.test:81", Hostname: "other"}, at("192.168.0.1:82"), at("no port"),
		})
		c := dnsCluster(t, f, &Config{Discovery: DiscoverStrictDNS, Static: static})
		wantEndpoints(t, c, "10.0.0.1:80", "10.0.0.2:80", "[fd00::1]:81", "192.168.0.1:82")
		list := c.Endpoints()
		if got := list[1]; got.Weight() != 3 || got.Hostname() != "a.test" || got.Priority() != 0 {
			t.Errorf("weight %d, hostname %q, priority %d", got.Weight(), got.Hostname(), got.Priority())
		}
		if got := list[2]; got.Hostname() != "other" || got.Priority() != 1 {
			t.Errorf("hostname %q, priority %d", got.Hostname(), got.Priority())
		}

		f.set("a.test", ips("10.0.0.2", "10.0.0.3"))
		time.Sleep(defaultRefreshRate - 1)
		synctest.Wait()
		wantEndpoints(t, c, "10.0.0.1:80", "10.0.0.2:80", "[fd00::1]:81", "192.168.0.1:82")
		time.Sleep(1)
		synctest.Wait()
		wantEndpoints(t, c, "10.0.0.2:80", "10.0.0.3:80", "[fd00::1]:81", "192.168.0.1:82")
		if c.Endpoints()[0] != list[1] {
			t.Error("an address that is still in the answer became another endpoint")
		}

		// Failures keep what is known.
		f.set("a.test", dnsAnswer{err: errors.New("server misbehaving")})
		time.Sleep(time.Minute)
		synctest.Wait()
		wantEndpoints(t, c, "10.0.0.2:80", "10.0.0.3:80", "[fd00::1]:81", "192.168.0.1:82")
	})
}

func TestDNSRespectsTTL(t *testing.T) {
	for _, test := range []struct {
		name string
		dns  DNS
		ttl  time.Duration
		want time.Duration // between two look-ups
	}{
		{"default", DNS{}, time.Minute, 5 * time.Second},
		{"rate", DNS{RefreshRate: 7 * time.Second}, time.Minute, 7 * time.Second},
		{"TTL", DNS{RespectTTL: true}, time.Minute, time.Minute},
		{"no TTL known", DNS{RespectTTL: true, RefreshRate: 7 * time.Second}, 0, 7 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := new(fakeDNS)
				f.set("a.test", dnsAnswer{addresses: []string{"10.0.0.1"}, ttl: test.ttl})
				dnsCluster(t, f, &Config{Discovery: DiscoverStrictDNS, DNS: test.dns, Static: one(at("a.test:80"))})
				for n := 1; n < 4; n++ {
					time.Sleep(test.want - 1)
					synctest.Wait()
					if got := f.count(); got != n {
						t.Fatalf("%d look-ups, want %d", got, n)
					}
					time.Sleep(1)
					synctest.Wait()
					if got := f.count(); got != n+1 {
						t.Fatalf("%d look-ups, want %d", got, n+1)
					}
				}
			})
		})
	}
}

func TestDNSBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := new(fakeDNS)
		refused := errors.New("refused")
		f.set("a.test", dnsAnswer{err: refused})
		c := NewCluster("c", ClusterOptions{Logger: quiet, Resolver: f})
		defer c.Close()
		v := c.View(new(fakeConnector), httpView)
		c.Configure(&Config{Discovery: DiscoverStrictDNS, Static: one(at("a.test:80")),
			DNS: DNS{FailureBase: time.Second, FailureMax: 4 * time.Second}})
		<-c.Settled()
		synctest.Wait()
		if _, err := v.Pick(PickInfo{}); !errors.Is(err, refused) {
			t.Errorf("Pick: %v, want %v", err, refused)
		}
		// 1, 2, 4, 4, 4 ... seconds, each give or take a half.
		n := 1
		for _, wait := range []time.Duration{1, 2, 4, 4, 4} {
			began := time.Now()
			for f.count() == n {
				time.Sleep(10 * time.Millisecond)
				synctest.Wait()
			}
			n++
			took := time.Since(began).Seconds()
			if took < float64(wait)*0.5-0.02 || took > float64(wait)*1.5+0.02 {
				t.Errorf("look-up %d came after %.2f s, want %d s give or take a half", n, took, wait)
			}
		}
		f.set("a.test", ips("10.0.0.1"))
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if _, err := v.Pick(PickInfo{}); err != nil {
			t.Errorf("Pick after the name server answered: %v", err)
		}
	})
}

func TestDNSLookupsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := new(fakeDNS)
		f.set("a.test", dnsAnswer{hang: true})
		c := NewCluster("c", ClusterOptions{Logger: quiet, Resolver: f})
		c.Configure(&Config{Discovery: DiscoverStrictDNS, Static: one(at("a.test:80"))})
		began := time.Now()
		<-c.Settled()
		if got := time.Since(began); got != lookupTimeout {
			t.Errorf("settled after %v, want %v", got, lookupTimeout)
		}
		time.Sleep(lookupTimeout) // into the next one
		f.slow = time.Second
		before := f.ended
		c.Close()
		if f.ended == before {
			t.Error("Close did not wait for the look-up that was under way")
		}
	})
}

func TestDNSFamilies(t *testing.T) {
	const v4, v6 = "10.0.0.1", "fd00::1"
	for _, test := range []struct {
		family AddressFamily
		answer []string
		ask    string
		want   []string
	}{
		{FamilyAuto, []string{v4, v6}, "ip", []string{"[fd00::1]:80"}},
		{FamilyAuto, []string{v4}, "ip", []string{"10.0.0.1:80"}},
		{FamilyV4Preferred, []string{v6, v4}, "ip", []string{"10.0.0.1:80"}},
		{FamilyV4Preferred, []string{v6}, "ip", []string{"[fd00::1]:80"}},
		{FamilyAll, []string{v6, v4, v6}, "ip", []string{"[fd00::1]:80", "10.0.0.1:80"}},
		{FamilyV4Only, []string{"::ffff:10.0.0.1"}, "ip4", []string{"10.0.0.1:80"}},
		{FamilyV6Only, []string{v6}, "ip6", []string{"[fd00::1]:80"}},
		{FamilyV6Only, []string{v4}, "ip6", nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := new(fakeDNS)
			f.set("a.test", ips(test.answer...))
			c := dnsCluster(t, f, &Config{Discovery: DiscoverStrictDNS, Static: one(at("a.test:80")), DNS: DNS{Family: test.family}})
			wantEndpoints(t, c, test.want...)
			if got := f.asked[0]; got != test.ask+" a.test" {
				t.Errorf("asked for %q, want %q", got, test.ask)
			}
		})
	}
}

func TestLogicalDNS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := new(fakeDNS)
		f.set("a.test", ips("10.0.0.1", "10.0.0.2"))
		c := dnsCluster(t, f, &Config{Discovery: DiscoverLogicalDNS, Static: one(at("a.test:80"), at("ignored.test:80"))})
		hk, gk := new(fakeConnector), new(fakeConnector)
		h, g := c.View(hk, httpView), c.View(gk, grpcView)

		l, err := h.Pick(PickInfo{})
		if err != nil {
			t.Fatal(err)
		}
		if got := l.Endpoint().Address(); got != "10.0.0.1:80" {
			t.Errorf("logical endpoint's address = %s", got)
		}
		// gRPC: pick_first over all addresses (gRFC A37).
		if diff := cmp.Diff([]string{"10.0.0.1:80"}, gk.connected()); diff != "" {
			t.Errorf("gRPC connected to (-want +got):\n%s", diff)
		}
		gk.conn(t, "10.0.0.1:80").report(TransientFailure, errRefused)
		synctest.Wait()
		gk.conn(t, "10.0.0.2:80").report(Ready, nil)
		synctest.Wait()
		if gl, err := g.Pick(PickInfo{}); err != nil || gl.Endpoint().Address() != "10.0.0.2:80" {
			t.Errorf("gRPC pick = %v, %v", gl, err)
		}

		// HTTP's one endpoint moves on; its link and connections stay.
		f.set("a.test", ips("10.0.0.2", "10.0.0.3"))
		time.Sleep(defaultRefreshRate)
		synctest.Wait()
		again, err := h.Pick(PickInfo{})
		if err != nil || again != l {
			t.Errorf("HTTP pick = %v, %v, want the same link", again, err)
		}
		if got := l.Endpoint().Address(); got != "10.0.0.2:80" || hk.made != 1 || len(hk.closed()) != 0 {
			t.Errorf("address %s, %d connections made, closed %v", got, hk.made, hk.closed())
		}
		if _, err := g.Pick(PickInfo{}); err != nil {
			t.Errorf("gRPC pick after the answer changed: %v", err)
		}
		for _, name := range f.asked {
			if name == "ip ignored.test" {
				t.Error("a second name was looked up")
			}
		}
	})
}

func TestDNSNamesChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := new(fakeDNS)
		f.set("a.test", ips("10.0.0.1"))
		f.set("b.test", ips("10.0.0.2"))
		f.set("slow.test", dnsAnswer{hang: true})
		config := func(dns DNS, names ...EndpointConfig) *Config {
			return &Config{Discovery: DiscoverStrictDNS, Static: one(names...), DNS: dns}
		}
		c := dnsCluster(t, f, config(DNS{}, at("a.test:80")))
		c.Configure(config(DNS{}, at("a.test:80"), at("b.test:80")))
		synctest.Wait()
		wantEndpoints(t, c, "10.0.0.1:80", "10.0.0.2:80")
		if got := f.count(); got != 2 {
			t.Errorf("%d look-ups, want one for each name", got)
		}
		// Make before break: nothing is known of the new name yet.
		c.Configure(config(DNS{}, at("slow.test:80")))
		synctest.Wait()
		wantEndpoints(t, c, "10.0.0.1:80", "10.0.0.2:80")
		f.set("slow.test", ips("10.0.0.3"))
		time.Sleep(time.Minute)
		synctest.Wait()
		wantEndpoints(t, c, "10.0.0.3:80")
		n := f.count()
		c.Configure(config(DNS{RefreshRate: time.Hour}, at("slow.test:80")))
		wantEndpoints(t, c, "10.0.0.3:80") // what is known stays when the settings change
		synctest.Wait()
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		if got := f.count() - n; got != 1 {
			t.Errorf("%d look-ups in half an hour at a rate of one an hour", got)
		}
		// So it does where another name is quicker.
		f.set("slow.test", dnsAnswer{hang: true})
		c.Configure(config(DNS{RefreshRate: time.Minute}, at("slow.test:80"), at("a.test:80")))
		synctest.Wait()
		wantEndpoints(t, c, "10.0.0.3:80", "10.0.0.1:80")
		c.Configure(&Config{Discovery: DiscoverStatic, Static: one(at("10.0.0.4:80"))})
		wantEndpoints(t, c, "10.0.0.4:80")
	})
}
