package balancer

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// SystemDNS returns the resolver that asks server ("host:port") or, if that is
// empty, the system's name servers, and that heeds the system's hosts file and
// search domains in either case. The time to live is the least among the records of
// the answer; what comes from the hosts file has none.
func SystemDNS(server string) DNSResolver { return systemDNS{server} }

type systemDNS struct{ server string }

// LookupIP has Go's resolver do the work and reads the times to live off the wire,
// since that resolver does not tell them.
func (s systemDNS) LookupIP(ctx context.Context, network, host string) ([]netip.Addr, time.Duration, error) {
	var seen ttlRecorder
	// A resolver of its own for each look-up: one that is shared merges look-ups,
	// and its connections could not be told apart.
	resolver := net.Resolver{
		PreferGo: true,
		Dial: func(ctx context.Context, network, server string) (net.Conn, error) {
			if s.server != "" {
				server = s.server
			}
			var dialer net.Dialer
			conn, err := dialer.DialContext(ctx, network, server)
			if err != nil {
				return nil, err
			}
			return seen.tap(conn), nil
		},
	}
	addresses, err := resolver.LookupNetIP(ctx, network, host)
	if err != nil {
		return nil, 0, err
	}
	return addresses, seen.least(), nil
}

// ttlRecorder keeps the least time to live among the answers it has seen.
type ttlRecorder struct {
	mu   sync.Mutex
	some bool
	ttl  time.Duration
}

func (r *ttlRecorder) least() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ttl
}

// tap returns conn with its answers read along. Go's resolver frames messages by the
// type of the connection, which has to stay visible.
func (r *ttlRecorder) tap(conn net.Conn) net.Conn {
	if packets, ok := conn.(net.PacketConn); ok {
		return &packetTap{Conn: conn, PacketConn: packets, recorder: r}
	}
	return &streamTap{Conn: conn, recorder: r}
}

// message takes the records of one DNS message. Whether it answers the question is
// for the resolver to say; one that does not could at worst shorten the time.
func (r *ttlRecorder) message(b []byte) {
	var p dnsmessage.Parser
	header, err := p.Start(b)
	if err != nil || !header.Response || header.RCode != dnsmessage.RCodeSuccess || p.SkipAllQuestions() != nil {
		return
	}
	for {
		answer, err := p.AnswerHeader()
		if err != nil {
			return
		}
		r.record(time.Duration(answer.TTL) * time.Second)
		if p.SkipAnswer() != nil {
			return
		}
	}
}

func (r *ttlRecorder) record(ttl time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.some || ttl < r.ttl {
		r.some, r.ttl = true, ttl
	}
}

// packetTap reads along on UDP, where each read is a message.
type packetTap struct {
	net.Conn
	net.PacketConn
	recorder *ttlRecorder
}

func (t *packetTap) Read(b []byte) (int, error) {
	n, err := t.Conn.Read(b)
	t.recorder.message(b[:n])
	return n, err
}

func (t *packetTap) Close() error                        { return t.Conn.Close() }
func (t *packetTap) LocalAddr() net.Addr                 { return t.Conn.LocalAddr() }
func (t *packetTap) SetDeadline(at time.Time) error      { return t.Conn.SetDeadline(at) }
func (t *packetTap) SetReadDeadline(at time.Time) error  { return t.Conn.SetReadDeadline(at) }
func (t *packetTap) SetWriteDeadline(at time.Time) error { return t.Conn.SetWriteDeadline(at) }

// streamTap reads along on TCP, where two bytes of length precede each message
// (RFC 1035, section 4.2.2), which is at most 64 KiB.
type streamTap struct {
	net.Conn
	recorder *ttlRecorder
	pending  []byte
}

func (t *streamTap) Read(b []byte) (int, error) {
	n, err := t.Conn.Read(b)
	t.pending = append(t.pending, b[:n]...)
	for len(t.pending) >= 2 {
		end := 2 + int(t.pending[0])<<8 + int(t.pending[1])
		if len(t.pending) < end {
			break
		}
		t.recorder.message(t.pending[2:end])
		t.pending = t.pending[end:]
	}
	return n, err
}
