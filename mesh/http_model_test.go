package mesh_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/weft-mesh/weft/mesh"
)

// bodyKind is what a request's body is to net/http.
type bodyKind int

const (
	noBody   bodyKind = iota
	inMemory          // with GetBody
	streamed          // of unknown length
	sized             // streamed, of known length
	bodyKinds
)

// httpCase is a request, its policy and what its backend does, all of it drawn from some
// bytes.
type httpCase struct {
	protocol string // http or http2
	attempts int
	limit    int // of the buffer
	resets   bool
	hedged   bool
	perTry   time.Duration // 0 for no timeout
	moves    []move

	body   bodyKind
	text   string // of the body
	broken int    // where the body fails to be read; nowhere for -1
	await  bool   // Expect: 100-continue
}

func drawHTTP(data []byte) httpCase {
	d := &draw{data}
	c := httpCase{
		protocol: []string{"http", "http2"}[d.n(2)],
		attempts: 2 + d.n(3),
		limit:    []int{1 << 10, 20}[d.n(2)],
		resets:   d.n(2) == 1,
		hedged:   d.n(4) == 3,
		body:     bodyKind(d.n(int(bodyKinds))),
		broken:   -1,
		await:    d.n(3) == 2,
	}
	if d.n(2) == 1 {
		c.perTry = 100 * time.Millisecond
	}
	if c.body != noBody {
		c.text = strings.Repeat("body ", d.n(10))
	}
	if len(c.text) > 0 && c.body != inMemory && d.n(4) == 3 {
		c.broken = d.n(len(c.text))
	}
	for range 1 + d.n(4) {
		m := d.move(30)
		if m.do == endFailBegun {
			m.do = endFail
		}
		if m.do == endFail && m.status == codes.OK {
			m.status = codes.Internal
		}
		c.moves = append(c.moves, m)
	}
	return c
}

// result is what becomes of an attempt that is the call's: a status, an answer that breaks
// off, or an error.
type result struct {
	status int // 0 for none
	broken bool
}

// retried is the result of a move, and whether policy retries it.
func (c *httpCase) retried(m move) (result, bool) {
	switch m.do {
	case endAnswer:
		return result{status: http.StatusOK}, false
	case endFail:
		return result{status: statusOf[m.status]}, m.status == codes.Unavailable
	case endResetBegun:
		return result{status: http.StatusOK, broken: true}, false
	case endReset:
		return result{}, c.resets
	default:
		return result{}, c.resets && c.perTry > 0
	}
}

// want is the result of the call, and of which attempt, from 1.
func (c *httpCase) want() (result, int) {
	for n := 1; ; n++ {
		r, again := c.retried(c.moves[min(n, len(c.moves))-1])
		if !again || n == c.attempts {
			return r, n
		}
	}
}

// exact reports whether that is sure: not where which attempt wins is a matter of time, or
// how much of the body net/http reads ahead.
func (c *httpCase) exact() bool {
	return !c.hedged && c.broken < 0 && (c.body <= inMemory || len(c.text) <= c.limit)
}

var errBrokenBody = errors.New("the body is broken")

// modelBody is a body that is read in pieces and watched.
type modelBody struct {
	tb     testing.TB
	text   string
	broken int

	mu     sync.Mutex
	at     int
	closed int
	late   int // reads after that
}

func (b *modelBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed > 0 {
		b.late++
		return 0, http.ErrBodyReadAfterClose // net/http closes bodies that it reads, too
	}
	end := min(b.at+7, len(b.text))
	if b.broken >= 0 {
		end = min(end, b.broken)
	}
	n := copy(p, b.text[b.at:end])
	b.at += n
	switch {
	case b.at == b.broken:
		return n, errBrokenBody
	case b.at == len(b.text):
		return n, io.EOF
	}
	return n, nil
}

func (b *modelBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed++
	return nil
}

// modelledHTTP is a modelled backend that speaks HTTP.
type modelledHTTP struct{ *modelled }

func (b modelledHTTP) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n, m := b.next("")
	var body io.Reader = r.Body
	if m.read >= 0 {
		body = io.LimitReader(body, int64(m.read))
	}
	got, err := io.ReadAll(body)
	b.read(n, string(got), false)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if m.read < 0 {
		b.read(n, "", true)
	}
	w.Header().Set("Attempt", strconv.Itoa(n))
	switch m.do {
	case endHang: // what is left of the body keeps HTTP/1.1 from seeing the client go
		pause(r.Context(), nil, 2*modelDeadline)
		panic(http.ErrAbortHandler)
	case endReset:
		panic(http.ErrAbortHandler)
	case endResetBegun:
		w.Header().Set("Content-Length", "1000")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	case endFail:
		w.WriteHeader(statusOf[m.status])
	}
	_, _ = w.Write(got)
}

// httpRun is a request and what is watched of it.
type httpRun struct {
	*testing.T
	httpCase
	backend *modelled
	mesh    *mesh.Mesh
	base    *http.Transport
	body    *modelBody
}

// runHTTP has a request be made as a case says, and compares.
func runHTTP(t *testing.T, c httpCase) {
	synctest.Test(t, func(t *testing.T) {
		n := &memory{}
		r := &httpRun{T: t, httpCase: c, backend: &modelled{moves: c.moves}, body: &modelBody{tb: t, text: c.text, broken: c.broken}}
		defer serveMemory(t, n, modelAddress, modelledHTTP{r.backend})()
		retry := fmt.Sprintf("attempts: %d, bufferLimit: %d, backOff: {baseInterval: 1ms}", c.attempts, c.limit)
		if c.resets {
			retry += ", on: [gateway-error]"
		} else {
			retry += ", statusCodes: [503]"
		}
		if c.perTry > 0 {
			retry += ", perTryTimeout: " + c.perTry.String()
		}
		route := "retry: {" + retry + "}"
		if c.hedged {
			route += ", hedge: {delay: 10ms}"
		}
		r.mesh = modelMesh(t, c.protocol, route)
		r.base = &http.Transport{DialContext: n.dial, ExpectContinueTimeout: time.Second}
		r.run()
		r.finish()
		if t.Failed() {
			t.Logf("%+v", c)
			for i, a := range r.backend.attempts() {
				t.Logf("attempt %d: %q", i+1, a.parts)
			}
		}
	})
}

func (r *httpRun) request(ctx context.Context) *http.Request {
	var body io.Reader
	switch r.httpCase.body {
	case inMemory:
		body = strings.NewReader(r.text)
	case streamed, sized:
		body = r.body
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://orders/", body)
	if err != nil {
		r.Fatal(err)
	}
	if r.httpCase.body == sized && len(r.text) > 0 {
		req.ContentLength = int64(len(r.text))
	}
	if r.await {
		req.Header.Set("Expect", "100-continue")
	}
	return req
}

func (r *httpRun) run() {
	resp, err := r.mesh.Transport(r.base).RoundTrip(r.request(within(r, modelDeadline)))
	if kept := mesh.Kept(r.mesh); kept > int64(r.limit) {
		r.Errorf("%d bytes are kept, more than %d", kept, r.limit)
	}
	var got result
	var text []byte
	attempt := len(r.backend.attempts())
	if err == nil {
		defer resp.Body.Close()
		var broke error
		text, broke = io.ReadAll(resp.Body)
		got = result{resp.StatusCode, broke != nil}
		if attempt, err = strconv.Atoi(resp.Header.Get("Attempt")); err != nil {
			r.Error(err)
		}
	}
	want, last := r.want()
	switch {
	case !r.exact():
		if attempt > r.attempts {
			r.Errorf("%d attempts, of at most %d", attempt, r.attempts)
		}
		if err == nil {
			want, _ = r.retried(r.moves[min(attempt, len(r.moves))-1])
		} else {
			want = result{}
		}
	case attempt != last:
		r.Errorf("the result is that of attempt %d, want %d", attempt, last)
	}
	if got != want {
		r.Errorf("%+v, %v; want %+v", got, err, want)
	}
	if err == nil && !got.broken && !strings.HasPrefix(r.text, string(text)) {
		r.Errorf("answered with %q, to %q", text, r.text)
	}
}

// finish compares what is left of the call.
func (r *httpRun) finish() {
	synctest.Wait()
	for i, a := range r.backend.attempts() {
		for _, part := range a.parts {
			if !strings.HasPrefix(r.text, part) || a.all && part != r.text {
				r.Errorf("attempt %d was sent %q, to the end: %v, of %q", i+1, part, a.all, r.text)
			}
		}
	}
	time.Sleep(3 * modelDeadline) // what hangs ends
	if closed := r.body.closed; r.httpCase.body >= streamed && closed != 1 {
		r.Errorf("the body was closed %d times", closed)
	}
	if n := mesh.Kept(r.mesh); n != 0 {
		r.Errorf("%d bytes are kept", n)
	}
	r.callAgain()
	if err := r.mesh.Close(within(r, time.Second)); err != nil {
		r.Errorf("the call is in flight: %v", err)
	}
}

// callAgain makes a call that is retried once.
func (r *httpRun) callAgain() {
	r.backend.restart([]move{{do: endFail, status: codes.Unavailable}, {read: -1}})
	got, err := postBody(within(r, modelDeadline), r.mesh.Transport(r.base), strings.NewReader("again"))
	if err != nil || got != "again" {
		r.Errorf("the next call: %q, %v", got, err)
	}
}

// TestHTTPModel holds requests under retry and hedges to the model (rows Z1, Z3).
func TestHTTPModel(t *testing.T) {
	const seed = 1
	random := rand.New(rand.NewPCG(seed, 0))
	for i := range 400 {
		data := make([]byte, 40)
		for j := range data {
			data[j] = byte(random.Uint32())
		}
		if runHTTP(t, drawHTTP(data)); t.Failed() {
			t.Fatalf("seed %d, request %d: %x", seed, i, data)
		}
	}
}

// FuzzHTTP is TestHTTPModel with cases of the fuzzer.
func FuzzHTTP(f *testing.F) {
	f.Add([]byte{0, 1, 0, 1, 0, 2, 0, 1, 9, 0, 2, 30, 1, 0, 0, 3, 31, 0})
	f.Fuzz(func(t *testing.T, data []byte) { runHTTP(t, drawHTTP(data)) })
}
