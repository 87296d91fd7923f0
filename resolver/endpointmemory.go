package resolver

import (
	"runtime"
	"sync"
	"weak"

	"github.com/weft-mesh/weft/balancer"
)

// assignmentMemory remembers the newest assignments, so that of the next one only what
// differs is decoded: of ten thousand endpoints mostly one has changed. What was decoded
// is compared in wire form and taken over. An assignment is remembered for as long as
// somebody else keeps it. Its methods are safe for concurrent use, also on nil, which
// remembers nothing.
type assignmentMemory struct {
	mu     sync.Mutex
	byName map[string]remembered
}

type remembered struct {
	raw string
	of  weak.Pointer[balancer.Assignment]
}

// leastRemembered is the size in bytes from which remembering is worth it.
const leastRemembered = 4 << 10

// recall returns the assignment of a name that was decoded last, and what it was decoded
// from; nil if it is not known.
func (memory *assignmentMemory) recall(name string) (string, *balancer.Assignment) {
	if memory == nil {
		return "", nil
	}
	memory.mu.Lock()
	defer memory.mu.Unlock()
	r := memory.byName[name]
	return r.raw, r.of.Value()
}

func (memory *assignmentMemory) remember(name, raw string, a *balancer.Assignment) {
	if memory == nil || len(raw) < leastRemembered {
		return
	}
	memory.mu.Lock()
	defer memory.mu.Unlock()
	if memory.byName == nil {
		memory.byName = make(map[string]remembered)
	}
	of := weak.Make(a)
	memory.byName[name] = remembered{raw, of}
	runtime.AddCleanup(a, func(name string) {
		memory.mu.Lock()
		defer memory.mu.Unlock()
		if memory.byName[name].of == of {
			delete(memory.byName, name)
		}
	}, name)
}

// priorAssignment goes through a remembered assignment beside the one being decoded.
type priorAssignment struct {
	wire wire
	rest []balancer.LocalityEndpoints
}

func newPriorAssignment(raw string, a *balancer.Assignment) priorAssignment {
	if a == nil {
		return priorAssignment{}
	}
	return priorAssignment{wire{rest: raw}, a.Localities}
}

// next returns the next locality and what it was decoded from.
func (p *priorAssignment) next() (raw string, l *balancer.LocalityEndpoints) {
	for len(p.rest) > 0 && p.wire.next() {
		if p.wire.repeated(); p.wire.field != 2 {
			p.wire.skip()
			continue
		}
		raw, l = p.wire.bytes(), &p.rest[0]
		p.rest = p.rest[1:]
		return raw, l
	}
	return "", nil
}

// priorEndpoints goes through a remembered locality beside the one being decoded.
type priorEndpoints struct {
	wire   wire
	rest   []balancer.EndpointConfig
	missed int // in a row
}

// How far find looks ahead: past what was taken out of the list, and past what changed
// in it since something was found last.
const (
	lookAhead     = 8
	lookAheadMost = 256
)

// find returns the endpoint that was decoded from the same bytes, or nil. Endpoints keep
// their order from one assignment to the next, mostly.
func (p *priorEndpoints) find(raw string) *balancer.EndpointConfig {
	ahead := *p
	for range min(lookAhead+p.missed, lookAheadMost) {
		before, e := ahead.next()
		if e == nil {
			break
		}
		if before == raw {
			ahead.missed = 0
			*p = ahead
			return e
		}
	}
	p.missed++
	return nil
}

func (p *priorEndpoints) next() (raw string, e *balancer.EndpointConfig) {
	for len(p.rest) > 0 && p.wire.next() {
		if p.wire.repeated(); p.wire.field != 2 {
			p.wire.skip()
			continue
		}
		raw, e = p.wire.bytes(), &p.rest[0]
		p.rest = p.rest[1:]
		return raw, e
	}
	return "", nil
}
