package balancer

import (
	"time"
)

// A view's picker is rebuilt by at most one goroutine at a time, which lives only as
// long as there is something to do. Reports and updates that come meanwhile mark the
// view dirty and are all taken together by the next round. After a round the
// goroutine rests for about four times as long as a round takes, which goes by the
// number of endpoints, so that 10,000 connections that come up one after the other
// cost a fifth of a core at most. A single change is published at once, and until
// the next round picks pass over links that have failed since.
const (
	restPerEndpoint = time.Microsecond
	restMin         = 200 * time.Microsecond // shorter rests are not worth a timer
	restMax         = 50 * time.Millisecond
)

// wake has the view rebuilt, with the snapshot unless it is nil.
func (v *View) wake(s *snapshot) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if s != nil {
		v.newest = s
	}
	v.dirty = true
	if !v.running && !v.closed {
		v.running = true
		go v.run()
	}
}

// start is the first round, which the maker of the view waits for.
func (v *View) start() {
	v.mu.Lock()
	s := v.newest
	v.mu.Unlock()
	v.rebuild(s)
	v.mu.Lock()
	if v.dirty && !v.closed {
		v.mu.Unlock()
		go v.run()
		return
	}
	v.running = false
	closed := v.closed
	v.mu.Unlock()
	if closed {
		v.closeLinks()
	}
}

func (v *View) run() {
	for {
		v.mu.Lock()
		if v.closed || !v.dirty {
			v.running = false
			closed := v.closed
			v.mu.Unlock()
			if closed {
				v.closeLinks()
			}
			return
		}
		v.dirty = false
		s := v.newest
		v.mu.Unlock()

		v.rebuild(s)
		select {
		case <-v.done:
			continue
		default:
		}
		if v.options.Changed != nil {
			v.options.Changed()
		}
		v.rest()
	}
}

func (v *View) rest() {
	rest := min(time.Duration(len(v.links))*restPerEndpoint, restMax)
	if rest < restMin {
		return
	}
	t := time.NewTimer(rest)
	defer t.Stop()
	select {
	case <-t.C:
	case <-v.done:
	}
}

// rebuild makes a picker from what is known now. Links that have to go leave the
// picker before they are closed.
func (v *View) rebuild(s *snapshot) {
	r := &round{View: v, now: time.Now(), built: v.built, links: v.links, shared: true}
	r.keepSpares()
	if v.options.OnDemand && s.logical != nil {
		s = s.logical
	}
	if s.clusters != nil {
		v.rebuildAggregate(r, s)
		return
	}
	if v.aggregated != nil { // the cluster is another kind of cluster now
		v.adoptParts(nil)
		defer v.closeRetired()
	}
	s = v.randomSubset(s)
	if s != v.built {
		r.adopt(s)
	}
	r.survey()
	r.divide()
	r.makeLinks()
	r.learn()
	v.picker.Store(r.newPicker())
	for _, l := range r.gone {
		l.close()
	}
	if !v.options.OnDemand {
		r.connect()
	}
	v.built, v.links = r.built, r.links
	v.setTimer(r.next)
}

// setTimer has the view rebuilt after d, if that is above zero.
func (v *View) setTimer(d time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.timer != nil {
		v.timer.Stop()
		v.timer = nil
	}
	if d > 0 && !v.closed {
		v.timer = time.AfterFunc(d, func() { v.wake(nil) })
	}
}

func (v *View) closeLinks() {
	for _, l := range v.byEndpoint {
		l.close()
	}
	v.adoptParts(nil)
	v.closeRetired()
}
