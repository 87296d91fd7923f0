package balancer

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Link is one view's connection to one endpoint. It is what a pick returns. Where there
// may be several connections, a pick returns the link of one of them.
type Link struct {
	endpoint *Endpoint
	conn     Conn
	view     *View
	rank     uint32 // random and lasting: pick_first's shuffled order

	// What picking goes by, a State. Unlike reported, TransientFailure lasts: until
	// Ready where links connect by themselves (gRFC A62), else until retryAt.
	state atomic.Int32

	pool *pool // the link's connections, where they are counted; else nil
	lane *lane // the one that the link is, if it is a pool's

	probing *probing // of a link that is one call's; else nil

	reported atomic.Int32 // the State that the Conn reported last
	asked    atomic.Bool  // Connect was called and no report has come since
	// What is known of the endpoint's load, nil before a report; and whether reports
	// come out of band.
	load      atomic.Pointer[loadWeight]
	outOfBand atomic.Bool
	// Since when the link is Ready; Unix nanoseconds, 0 before it first was.
	readySince atomic.Int64
	// Since when the link could have been Ready and is not, and when
	// TransientFailure ends where links connect on demand; Unix nanoseconds.
	waitingSince, retryAt atomic.Int64

	mu       sync.Mutex // serializes reports
	err      error      // of the last TransientFailure
	failures int        // in a row
	closed   bool

	// Owned by the view's rebuild.
	generation  uint64    // of the last snapshot that had it far from where it was
	unusedSince time.Time // zero while its priority is in use
	// How often its Conn was told to have loads reported.
	reportingPeriod time.Duration
}

// Outcome is what became of an attempt that was sent over a Link.
type Outcome struct {
	// Err is why no answer came: the connection failed, a deadline passed
	// (context.DeadlineExceeded), the caller gave up (context.Canceled), nothing was sent
	// (ErrUnsent). Nil when an answer came, whatever it said. Nothing is learned of an
	// endpoint from the latter two.
	Err error
	// Code is what the answer said: the gRPC status code for gRPC, the status code
	// for HTTP. Meaningless if Err is set.
	Code int
	// Epoch is what Link.Epoch said after the pick. Breakers do not heed calls that began
	// before they last closed. Zero is not known, and counts.
	Epoch Epoch
}

// Epoch is when a call began, for the breakers of its endpoint and its cluster.
type Epoch uint16

// Endpoint returns the endpoint that the link leads to.
func (l *Link) Endpoint() *Endpoint { return l.endpoint }

// Conn returns what the view's Connector made for the endpoint.
func (l *Link) Conn() Conn { return l.conn }

// State returns the state that the Conn reported last.
func (l *Link) State() State { return State(l.reported.Load()) }

// Err returns the error of the last TransientFailure, nil if there was none since
// the link was Ready.
func (l *Link) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Done says what became of the attempt. It must be called exactly once for each
// Pick that returned the link, whether or not anything was sent, and may be called
// after the endpoint has gone and the view was closed.
func (l *Link) Done(o Outcome) {
	e := l.endpoint
	e.end()
	switch m, g := e.monitor.Load(), e.guards.Load(); {
	case m == nil && g == nil && l.probing == nil: // nobody learns
	case l.probing != nil, e.learnsMore(), g != nil && !g.idle(), !o.Succeeded(l.view.options.GRPC):
		l.learn(o)
	case m != nil:
		e.answers.add(false)
	}
	if l.lane != nil {
		l.lane.release()
	}
}

// learnsMore reports whether outlier detection learns more of a call that succeeded than that.
func (e *Endpoint) learnsMore() bool {
	return e.rows.errors.Load()|e.rows.gateway.Load() != 0 || e.active.Load()&splitsOrigin != 0
}

// learn is for calls of which there is more to learn than that one more succeeded.
func (l *Link) learn(o Outcome) {
	if m := l.endpoint.monitor.Load(); m != nil {
		m.learn(o, l.view.options.GRPC)
	}
	if l.probing != nil || l.endpoint.guards.Load() != nil {
		l.judge(o)
	}
}

// enter counts a call in flight.
func (l *Link) enter(info *PickInfo) (*Link, error) {
	l.endpoint.begin()
	if l.pool == nil {
		return l, nil
	}
	of, err := l.pool.take(info.Context)
	if err != nil {
		l.endpoint.end()
	}
	return of, err
}

func newLink(v *View, e *Endpoint) *Link {
	l := &Link{endpoint: e, view: v, rank: rand.Uint32()}
	if v.pooled(e) {
		l.pool = newPool(l)
		l.conn = l.pool
		return l
	}
	l.conn = v.connector.NewConn(e, l.report)
	return l
}

// report takes a state from the Conn.
func (l *Link) report(s State, err error) {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return
	}
	before := State(l.state.Load())
	after := before
	l.asked.Store(false)
	l.reported.Store(int32(s))
	switch s {
	case Ready:
		after = Ready
		l.err, l.failures = nil, 0
		l.waitingSince.Store(0)
		if before != Ready {
			l.becameReady()
		}
	case TransientFailure:
		after = TransientFailure
		l.err = err
		// Calls that fail together tell of one failure, not of many.
		if now := time.Now(); before != TransientFailure {
			if now.UnixNano()-l.retryAt.Load() > int64(retryBackoff.max) {
				l.failures = 0 // the last one is long ago
			}
			l.failures++
			l.retryAt.Store(now.Add(retryBackoff.delay(l.failures)).UnixNano())
		}
	default:
		if before != TransientFailure {
			after = s
		}
	}
	if before == Ready && after != Ready {
		l.waitingSince.Store(time.Now().UnixNano())
	}
	l.state.Store(int32(after))
	l.mu.Unlock()

	// A view on demand picks links in all states but one: whether they have a
	// connection just now is no news to it.
	if !l.view.options.OnDemand || (before == TransientFailure) != (after == TransientFailure) {
		l.view.wake(nil)
	}
}

// connect asks an idle Conn to connect.
func (l *Link) connect(now time.Time) {
	if State(l.reported.Load()) != Idle || l.asked.Swap(true) {
		return
	}
	if State(l.state.Load()) != Ready {
		l.waitingSince.CompareAndSwap(0, now.UnixNano())
	}
	l.conn.Connect()
}

// expire ends a TransientFailure whose time has come, and else returns how long it
// still lasts.
func (l *Link) expire(now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if State(l.state.Load()) != TransientFailure {
		return 0
	}
	if left := l.retryAt.Load() - now.UnixNano(); left > 0 {
		return time.Duration(left)
	}
	l.state.Store(int32(Idle))
	return 0
}

// rearm gives an idle link that was not needed for a while a new chance, and reports
// whether it did: nothing is known of the endpoint by now.
func (l *Link) rearm() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.State() != Idle {
		return false
	}
	l.state.Store(int32(Idle))
	l.waitingSince.Store(0)
	return true
}

func (l *Link) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	if l.pool != nil || l.view.options.OnDemand {
		l.conn.Close() // which counts calls itself, or closes what is idle
		return
	}
	l.closeConn(time.Now().Add(maxClosing))
}

// How often it is seen whether a link that is closed has calls, and for how long.
const (
	closingCheck = 100 * time.Millisecond
	maxClosing   = time.Minute
)

// closeConn closes a Conn of gRPC's once its endpoint has no call in flight, or when by has
// come. Until then nothing picks it any more, but calls that have may have yet to begin. Had
// the Conn begun to drain, they would wait for as long as others have streams on it
// (http2Client.NewStream of grpc-go 1.85 takes a connection that drains for one that has no
// stream free).
func (l *Link) closeConn(by time.Time) {
	if l.endpoint.Active() > 0 && time.Now().Before(by) {
		time.AfterFunc(closingCheck, func() { l.closeConn(by) })
		return
	}
	l.conn.Close()
}
