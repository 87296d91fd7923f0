package resilience

import (
	"math"
	"time"
)

// Pace is how fast the bytes of one response go: a bucket that holds what a second
// brings, and at first what a twentieth of it does, as the one in which Envoy's fault and
// bandwidth filters keep their tokens. It is not safe for concurrent use.
type Pace struct {
	perSecond, tokens float64
	filled            time.Time
}

// paceSteps is how many times a second Envoy looks what may go.
const paceSteps = 20

// maxPace keeps sums of bytes exact.
const maxPace = 1 << 50

// NewPace returns the pace of a response that may begin now. bytesPerSecond is at least 1.
func NewPace(bytesPerSecond uint64, now time.Time) Pace {
	rate := float64(max(1, min(bytesPerSecond, maxPace)))
	return Pace{perSecond: rate, tokens: rate / paceSteps, filled: now}
}

// Piece is how many bytes are best taken at a time: what comes together in Envoy.
func (p *Pace) Piece() int { return max(1, int(min(p.perSecond/paceSteps, math.MaxInt32))) }

// Take takes n bytes, all at once, and returns how long they are to be held back. More than
// there are is owed by those that come after.
func (p *Pace) Take(n int, now time.Time) time.Duration {
	if d := now.Sub(p.filled); d > 0 {
		p.tokens = min(p.perSecond, p.tokens+p.perSecond*d.Seconds())
		p.filled = now
	}
	p.tokens -= float64(n)
	if p.tokens >= 0 {
		return 0
	}
	wait := math.Ceil(-p.tokens / p.perSecond * float64(time.Second))
	if wait >= math.MaxInt64 {
		return math.MaxInt64
	}
	return time.Duration(wait)
}
