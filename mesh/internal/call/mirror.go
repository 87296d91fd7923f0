package call

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/resilience"
	"github.com/weft-mesh/weft/resolver"
)

// Mirrors are the copies of calls that a mesh has under way. They must cost the calls
// nothing but the copying: what is beyond a bound is dropped, and counted. The zero
// value drops all.
type Mirrors struct {
	gate    Gate
	ctx     context.Context
	stop    context.CancelFunc
	log     *slog.Logger
	held    atomic.Int64 // bytes
	dropped atomic.Int64
	said    atomic.Int64 // when drops were logged, Unix nanoseconds
}

// The bounds of what is mirrored, for each mesh.
const (
	// maxMirrors is how many copies may be in flight.
	maxMirrors = 256
	// maxMirrorsHeld is how many bytes of them may be in memory.
	maxMirrorsHeld = 16 << 20
	// MaxMirrored is how large a body or a message may be that is mirrored, in bytes.
	MaxMirrored = 1 << 20
	// MirrorTimeout bounds a copy whose route has no timeout.
	MirrorTimeout = 15 * time.Second
)

// NewMirrors returns the mirrors of a mesh. Close ends them.
func NewMirrors(log *slog.Logger) *Mirrors {
	m := &Mirrors{log: log}
	m.ctx, m.stop = context.WithCancel(context.Background())
	return m
}

// Close cuts off the copies that are under way, and waits for their end, which comes at
// once.
func (m *Mirrors) Close() {
	m.gate.Shut()
	m.stop()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = m.gate.Drain(ctx)
}

// Hold reserves memory for n bytes of a copy, or drops the copy. Free gives it back.
func (m *Mirrors) Hold(n int) bool {
	if n > MaxMirrored || m.held.Add(int64(n)) > maxMirrorsHeld {
		if n <= MaxMirrored {
			m.Free(n)
		}
		m.Drop("too many bytes")
		return false
	}
	return true
}

// Free gives back what Hold reserved.
func (m *Mirrors) Free(n int) { m.held.Add(-int64(n)) }

// sayDropped is how often at most the log tells of dropped copies.
const sayDropped = time.Minute

// Drop counts a copy that is not made, or not to its end.
func (m *Mirrors) Drop(why string) {
	n := m.dropped.Add(1)
	now, said := time.Now().UnixNano(), m.said.Load()
	if (said == 0 || now-said > int64(sayDropped)) && m.said.CompareAndSwap(said, now) {
		m.log.Warn("mirrored calls were dropped", "why", why, "dropped", n)
	}
}

// Mirror is a copy of a call, on its way to another cluster.
type Mirror struct {
	Policy *resolver.Mirror
	Call   Call
	Of     string // the cluster of the call that it is a copy of

	all    *Mirrors
	cancel context.CancelFunc
	late   atomic.Pointer[time.Timer]
}

// Mirrored reports whether copies of the call may be wanted.
func (c *Call) Mirrored() bool { return c.route.Mirrors() != nil && !c.copied }

// Mirrors decides which copies of the call are wanted, and begins them: each is to be
// ended. headers are the copy's own, or nil where the adapter sets them later.
func (c *Call) Mirrors(all *Mirrors) []*Mirror {
	var chosen []*Mirror
	policies := c.route.Mirrors()
	for i := range policies {
		p := &policies[i]
		if !p.Take() {
			continue
		}
		cluster := p.Cluster
		if cluster == nil {
			// The first copy for a cluster is not made: nobody waits for one.
			cluster = c.Target.DemandNow(p.ClusterName(&c.Request))
		}
		if cluster == nil {
			continue
		}
		if m := all.begin(c, p, cluster); m != nil {
			chosen = append(chosen, m)
		}
	}
	return chosen
}

func (m *Mirrors) begin(c *Call, p *resolver.Mirror, to *balancer.Cluster) *Mirror {
	if m.gate.active.Load()/resilience.CallUnit >= maxMirrors {
		m.Drop("too many at once")
		return nil
	}
	in := m.gate.enter(nil)
	if in == nil {
		return nil
	}
	return &Mirror{Policy: p, all: m, Of: c.Cluster.Name(), Call: Call{
		Target: c.Target, Client: c.Client, Request: c.Request,
		Attempt:  balancer.Attempt{Cluster: to, In: in, Priority: c.Priority},
		progress: progress{copied: true},
		routed:   routed{route: c.route},
	}}
}

// Context is what the copy runs under: not the call's, which may end first, nor has it
// any of its values. Where the route has no timeout, otherwise bounds the copy; 0 does
// not.
func (m *Mirror) Context(otherwise time.Duration) context.Context {
	timeout := m.Call.Timeout()
	if timeout <= 0 {
		timeout = otherwise
	}
	var ctx context.Context
	if timeout > 0 {
		ctx, m.cancel = context.WithTimeout(m.all.ctx, timeout)
	} else {
		ctx, m.cancel = context.WithCancel(m.all.ctx)
	}
	return ctx
}

// CancelAfter cuts the copy off after d at the latest.
func (m *Mirror) CancelAfter(d time.Duration) {
	if d <= 0 {
		m.cancel()
		return
	}
	m.late.Store(time.AfterFunc(d, m.cancel))
}

// End ends the copy, whose attempt had this outcome.
func (m *Mirror) End(o balancer.Outcome) {
	if m.cancel != nil {
		m.cancel()
	}
	if t := m.late.Load(); t != nil {
		t.Stop()
	}
	m.Call.End(o)
}
