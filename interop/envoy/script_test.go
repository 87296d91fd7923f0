package envoy

import (
	"net/http"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
)

// act is what an actor does with one attempt of a call.
type act struct {
	Kind kind
	// Status is the answer's, of HTTP.
	Status int `json:",omitempty"`
	// Code is the answer's, of gRPC; a failure is one block of headers, without a message,
	// unless Kind says otherwise.
	Code codes.Code `json:",omitempty"`
	// Header is the answer's: names and values in turn.
	Header []string `json:",omitempty"`
	// Until holds it until so many attempts of the call have come.
	Until int `json:",omitempty"`
}

// kind is how an act goes.
type kind string

const (
	answers kind = "answer"
	// holds answers when the play is let go on.
	holds kind = "hold"
	// hangs says nothing until the caller gives up.
	hangs kind = "hang"
	// stalls begins an answer, and says no more.
	stalls kind = "headers, hang"
	// breaks begins an answer, and then the connection, or the stream, is lost.
	breaks kind = "headers, reset"
	// drops loses the connection before any answer.
	drops kind = "reset"
	// closes closes it in good order.
	closes kind = "close"
	// bare is an HTTP status without anything of gRPC.
	bare kind = "HTTP status"
	// late is a status of gRPC that comes after the headers.
	late kind = "headers, status"
	// The rest is of HTTP/2: REFUSED_STREAM; INTERNAL_ERROR; GOAWAY, with a word that
	// this stream was not looked at, and the end of the connection; GOAWAY with a word that
	// this stream is the last, and its answer.
	refuses  kind = "REFUSED_STREAM"
	fails    kind = "INTERNAL_ERROR"
	goesAway kind = "GOAWAY"
	retires  kind = "GOAWAY, answer"
)

// script is what comes of the attempts of one call, in turn; the last is for all that
// follow.
type script []act

// attempt is what a backend saw of one attempt.
type attempt struct {
	Count    string // x-envoy-attempt-count
	Previous string // grpc-previous-rpc-attempts
	Body     string
	backend  string
	at       time.Time
	held     bool // by its act
	over     bool // it was answered, or given up
}

// stage is where scripts are played: by the actors of all backends, for the calls of
// all sides.
type stage struct {
	mu    sync.Mutex
	plays map[string]*play
}

// play is a script under way.
type play struct {
	mu       sync.Mutex
	script   script
	attempts []attempt
	changed  chan struct{} // closed when attempts is changed
	free     chan struct{} // closed when what is held may go on
}

func newStage() *stage { return &stage{plays: map[string]*play{}} }

// open has calls of an ID go by a script.
func (s *stage) open(id string, sc script) *play {
	p := &play{script: sc, changed: make(chan struct{}), free: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.plays[id] = p
	return p
}

// enter counts an attempt in. It returns nil for a call without a script.
func (s *stage) enter(backend string, h http.Header, body string) (*play, int, act) {
	s.mu.Lock()
	p := s.plays[h.Get(idHeader)]
	s.mu.Unlock()
	if p == nil {
		return nil, 0, act{}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.attempts = append(p.attempts, attempt{
		Count: h.Get("X-Envoy-Attempt-Count"), Previous: h.Get("Grpc-Previous-Rpc-Attempts"), Body: body,
		backend: backend, at: time.Now(),
	})
	p.change()
	n := len(p.attempts)
	return p, n, p.script[min(n, len(p.script))-1]
}

// hold waits until what is held may go on, or for over.
func (p *play) hold(n int, over <-chan struct{}) {
	p.mu.Lock()
	p.attempts[n-1].held = true
	p.change()
	p.mu.Unlock()
	select {
	case <-p.free:
	case <-over:
	}
}

func (p *play) change() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// leave says that an attempt was answered, or given up.
func (p *play) leave(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.attempts[n-1].over = true
	p.change()
}

// wait returns once the attempts are as wanted, or false if over ends first.
func (p *play) wait(over <-chan struct{}, wanted func([]attempt) bool) bool {
	for {
		p.mu.Lock()
		ok, changed := wanted(p.attempts), p.changed
		p.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-changed:
		case <-over:
			return false
		}
	}
}

// came is a wanted state of the attempts: that there were so many.
func came(n int) func([]attempt) bool {
	return func(list []attempt) bool { return len(list) >= n }
}

// allOver is another: that nothing is left of any.
func allOver(list []attempt) bool {
	return !slices.ContainsFunc(list, func(a attempt) bool { return !a.over })
}

func (p *play) seen() []attempt {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.attempts)
}
