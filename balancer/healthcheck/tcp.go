package healthcheck

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/weft-mesh/weft/balancer"
)

// maxAnswer is how much a server may send before what is waited for.
const maxAnswer = 64 << 10

var errTooLong = errors.New("no such answer")

// tcpProber connects, and has what it sends answered.
type tcpProber struct {
	target balancer.CheckTarget
	conn   net.Conn // nil while there is none to use again
}

// Probe implements balancer.Prober.
func (p *tcpProber) Probe(ctx context.Context) balancer.Verdict {
	if p.conn != nil {
		// It may have been closed since, which is no news of the endpoint.
		if p.exchange(ctx) == nil {
			return balancer.Passed
		}
		p.Close()
	}
	conn, err := p.target.Dial(ctx)
	if err != nil {
		return balancer.Unreachable
	}
	p.conn = conn
	// As in Envoy, a check that expects nothing closes its connection.
	keep := !p.target.Check.Reconnect && len(p.target.Check.TCP.Receive) > 0
	if err = p.exchange(ctx); err != nil || !keep {
		p.Close()
	}
	if err != nil {
		return balancer.Unreachable
	}
	return balancer.Passed
}

func (p *tcpProber) exchange(ctx context.Context) error {
	check := p.target.Check.TCP
	if len(check.Receive) == 0 {
		return nil
	}
	conn := p.conn
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if len(check.Send) > 0 {
		if _, err := conn.Write(check.Send); err != nil {
			return err
		}
	}
	data := make([]byte, 0, 1024)
	for {
		n, err := conn.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		switch {
		case found(check.Receive, data):
			return nil
		case err != nil:
			return err
		case len(data) == maxAnswer:
			return errTooLong
		case len(data) == cap(data):
			data = append(make([]byte, 0, min(2*cap(data), maxAnswer)), data...)
		}
	}
}

// Close implements balancer.Prober.
func (p *tcpProber) Close() {
	if p.conn != nil {
		_ = p.conn.Close()
		p.conn = nil
	}
}
