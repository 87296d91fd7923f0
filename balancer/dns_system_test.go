package balancer

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// serveDNS answers for two names on a loopback address: "small.test." over UDP, and
// "big.test." by asking the client to come again over TCP.
func serveDNS(t *testing.T) string {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenPacket("udp", tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	t.Cleanup(func() {
		tcp.Close()
		udp.Close()
		running.Wait()
	})
	running.Go(func() {
		b := make([]byte, 1500)
		for {
			n, from, err := udp.ReadFrom(b)
			if err != nil {
				return
			}
			udp.WriteTo(dnsReply(b[:n], true), from)
		}
	})
	running.Go(func() {
		for {
			conn, err := tcp.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				var length [2]byte
				for {
					if _, err := io.ReadFull(conn, length[:]); err != nil {
						return
					}
					query := make([]byte, binary.BigEndian.Uint16(length[:]))
					if _, err := io.ReadFull(conn, query); err != nil {
						return
					}
					reply := dnsReply(query, false)
					conn.Write(binary.BigEndian.AppendUint16(nil, uint16(len(reply))))
					conn.Write(reply)
				}
			})
		}
	})
	return tcp.Addr().String()
}

func dnsReply(query []byte, udp bool) []byte {
	var p dnsmessage.Parser
	header, err := p.Start(query)
	if err != nil {
		return nil
	}
	question, err := p.Question()
	if err != nil {
		return nil
	}
	reply := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: header.ID, Response: true, RecursionAvailable: true},
		Questions: []dnsmessage.Question{question},
	}
	add := func(ttl uint32, body dnsmessage.ResourceBody) {
		reply.Answers = append(reply.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET, TTL: ttl}, Body: body,
		})
	}
	name := question.Name.String()
	switch {
	case name == "big.test." && udp:
		reply.Truncated = true
	case name == "big.test." && question.Type == dnsmessage.TypeA:
		for i := range 100 {
			add(300, &dnsmessage.AResource{A: [4]byte{10, 1, 0, byte(i)}})
		}
	case name == "small.test." && question.Type == dnsmessage.TypeA:
		add(90, &dnsmessage.AResource{A: [4]byte{10, 0, 0, 1}})
		add(60, &dnsmessage.AResource{A: [4]byte{10, 0, 0, 2}})
	case name == "small.test." && question.Type == dnsmessage.TypeAAAA:
		add(120, &dnsmessage.AAAAResource{AAAA: netip.MustParseAddr("fd00::1").As16()})
	case name != "small.test." && name != "big.test.":
		reply.RCode = dnsmessage.RCodeNameError
	}
	b, _ := reply.Pack()
	return b
}

func TestSystemDNS(t *testing.T) {
	resolver := SystemDNS(serveDNS(t))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	lookup := func(network, host string) ([]string, time.Duration) {
		t.Helper()
		addresses, ttl, err := resolver.LookupIP(ctx, network, host)
		if err != nil {
			t.Fatalf("LookupIP(%s, %s): %v", network, host, err)
		}
		var list []string
		for _, a := range addresses {
			list = append(list, a.Unmap().String())
		}
		slices.Sort(list)
		return list, ttl
	}
	if got, ttl := lookup("ip", "small.test."); !slices.Equal(got, []string{"10.0.0.1", "10.0.0.2", "fd00::1"}) || ttl != time.Minute {
		t.Errorf("small.test = %v for %v, want three addresses for the least time, 1m0s", got, ttl)
	}
	if got, ttl := lookup("ip6", "small.test."); !slices.Equal(got, []string{"fd00::1"}) || ttl != 2*time.Minute {
		t.Errorf("small.test over IPv6 = %v for %v", got, ttl)
	}
	if got, ttl := lookup("ip4", "big.test."); len(got) != 100 || ttl != 5*time.Minute {
		t.Errorf("big.test = %d addresses for %v, want 100 for 5m0s", len(got), ttl)
	}
	if got, _, err := resolver.LookupIP(ctx, "ip", "missing.test."); err == nil {
		t.Errorf("missing.test = %v, want an error", got)
	}
}

// A cluster of the system's resolver, whole.
func TestStrictDNSOverTheWire(t *testing.T) {
	c := NewCluster("c", ClusterOptions{Logger: quiet, Resolver: SystemDNS(serveDNS(t))})
	defer c.Close()
	c.Configure(&Config{Discovery: DiscoverStrictDNS, Static: one(at("small.test.:80")), DNS: DNS{Family: FamilyV4Only}})
	<-c.Settled()
	got := endpointAddresses(c)
	slices.Sort(got)
	if !slices.Equal(got, []string{"10.0.0.1:80", "10.0.0.2:80"}) {
		t.Errorf("endpoints = %v", got)
	}
}

func FuzzTTLRecorder(f *testing.F) {
	query, _ := (&dnsmessage.Message{
		Header: dnsmessage.Header{ID: 1},
		Questions: []dnsmessage.Question{{
			Name: dnsmessage.MustNewName("small.test."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET,
		}},
	}).Pack()
	f.Add(dnsReply(query, false))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r ttlRecorder
		r.message(b)
		if r.least() < 0 {
			t.Errorf("a negative time to live: %v", r.least())
		}
	})
}
