package mesh_test

import (
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-mesh/weft/mesh"
)

// piece is a part of a body, and what passes before it can be read.
type piece struct {
	after func()
	text  string
}

// later is a body that comes in pieces.
type later struct {
	pieces []piece
	closed atomic.Int32
}

func (b *later) Read(p []byte) (int, error) {
	if len(b.pieces) == 0 {
		return 0, io.EOF
	}
	if next := &b.pieces[0]; next.after != nil {
		next.after()
		next.after = nil
	}
	n := copy(p, b.pieces[0].text)
	if b.pieces[0].text = b.pieces[0].text[n:]; b.pieces[0].text == "" {
		b.pieces = b.pieces[1:]
	}
	return n, nil
}

func (b *later) Close() error {
	b.closed.Add(1)
	return nil
}

func sleep(d time.Duration) func() { return func() { time.Sleep(d) } }

// replayed is a mesh in a bubble, and the one body that is posted through it.
type replayed struct {
	*mesh.Mesh
	*http.Transport
	body *later
}

// replaying runs a test by HTTP/1.1 and h2c: of a route, and of what its backend does with
// the n-th attempt, from 1. All of the body is to be let go of in the end.
func replaying(t *testing.T, route string, body func() []piece, serve func(n int, w http.ResponseWriter, r *http.Request), test func(t *testing.T, r *replayed)) {
	for _, protocol := range []string{"http", "http2"} {
		t.Run(protocol, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &memory{}
				var attempts atomic.Int32
				defer serveMemory(t, n, modelAddress, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
						t.Error(err)
					}
					serve(int(attempts.Add(1)), w, r)
				}))()
				r := &replayed{modelMesh(t, protocol, route), &http.Transport{DialContext: n.dial}, &later{pieces: body()}}
				test(t, r)
				time.Sleep(modelDeadline) // what hangs ends
				synctest.Wait()
				if closed, kept := r.body.closed.Load(), mesh.Kept(r.Mesh); closed != 1 || kept != 0 {
					t.Errorf("the body was closed %d times, and %d bytes of it are kept", closed, kept)
				}
				if err := r.Close(within(t, time.Second)); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// request is one to post the body with.
func (r *replayed) request(t *testing.T) *http.Request {
	req, err := http.NewRequestWithContext(within(t, modelDeadline), http.MethodPost, "http://orders/", r.body)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// post posts the body.
func (r *replayed) post(t *testing.T) (*http.Response, error) {
	return r.Mesh.Transport(r.Transport).RoundTrip(r.request(t))
}

// expect posts the body and expects an answer.
func (r *replayed) expect(t *testing.T, want string) {
	t.Helper()
	resp, err := r.post(t)
	if err != nil {
		t.Error(err)
		return
	}
	defer resp.Body.Close()
	if got, err := io.ReadAll(resp.Body); err != nil || string(got) != want {
		t.Errorf("answer %q, %v; want %q", got, err, want)
	}
}

// answer begins an answer.
func answer(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() }

// sendBack answers with what it reads.
func sendBack(w http.ResponseWriter, r *http.Request) {
	answer(w)
	_, _ = io.Copy(w, r.Body)
}

// TestBodyForgottenOnceAnswered keeps nothing of a body that will not be sent again, though
// it is still being sent.
func TestBodyForgottenOnceAnswered(t *testing.T) {
	body := func() []piece {
		return []piece{{nil, "a"}, {sleep(time.Second), "b"}, {sleep(10 * time.Second), "c"}}
	}
	replaying(t, "retry: {statusCodes: [503]}", body, func(_ int, w http.ResponseWriter, r *http.Request) { sendBack(w, r) },
		func(t *testing.T, r *replayed) {
			resp, err := r.post(t)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			time.Sleep(2 * time.Second)
			if kept := mesh.Kept(r.Mesh); kept != 0 {
				t.Errorf("%d bytes are kept", kept)
			}
			if got, err := io.ReadAll(resp.Body); err != nil || string(got) != "abc" {
				t.Errorf("answer %q, %v", got, err)
			}
		})
}

// TestHedgesShareBody has each piece of a body sent by all attempts as it comes, even if the
// one that read it sends no more.
func TestHedgesShareBody(t *testing.T) {
	arrived := make(chan struct{})
	body := func() []piece {
		arrived = make(chan struct{})
		return []piece{{sleep(time.Second), "a"}, {func() { <-arrived }, "b"}}
	}
	replaying(t, "hedge: {delay: 10ms}", body, func(n int, w http.ResponseWriter, r *http.Request) {
		if n == 1 {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
			return
		}
		a := make([]byte, 1)
		_, _ = io.ReadFull(r.Body, a)
		close(arrived)
		_, _ = w.Write(a)
		sendBack(w, r)
	}, func(t *testing.T, r *replayed) { r.expect(t, "ab") })
}

// TestBodyOfLostAttempt has what an attempt that is over had begun to read be the next one's
// to send, which is answered meanwhile.
func TestBodyOfLostAttempt(t *testing.T) {
	rest := strings.Repeat("b", 10_000) // more than is kept
	for name, route := range map[string]string{
		"retried":           "retry: {statusCodes: [503], bufferLimit: 100, backOff: {baseInterval: 1ms}}",
		"hedged, failed":    "retry: {statusCodes: [503], bufferLimit: 100}, hedge: {delay: 1h}",
		"hedged, cancelled": "retry: {bufferLimit: 100}, hedge: {delay: 10ms}",
	} {
		t.Run(name, func(t *testing.T) {
			answered := make(chan struct{})
			body := func() []piece {
				answered = make(chan struct{})
				return []piece{{nil, "a"}, {func() { <-answered }, rest}}
			}
			replaying(t, route, body, func(n int, w http.ResponseWriter, r *http.Request) {
				if n > 1 {
					sendBack(w, r)
					return
				}
				if name != "hedged, cancelled" {
					w.WriteHeader(http.StatusServiceUnavailable)
					answer(w)
				}
				_, _ = io.Copy(io.Discard, r.Body)
				<-r.Context().Done()
			}, func(t *testing.T, r *replayed) {
				resp, err := r.post(t)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				close(answered)
				if got, err := io.ReadAll(resp.Body); err != nil || string(got) != "a"+rest {
					t.Errorf("answer of %d bytes, %v", len(got), err)
				}
			})
		})
	}
}

// TestLostAttemptReadsNoMore has an attempt be over that could be sent more: of the body
// nothing is read for it but what it was waiting for, and the next one sends all.
func TestLostAttemptReadsNoMore(t *testing.T) {
	var read, before atomic.Int32
	body := func() []piece {
		read.Store(0)
		pieces := []piece{{nil, "a"}}
		for range 20 { // in less time than answers that are dropped are read for
			pieces = append(pieces, piece{func() { time.Sleep(time.Millisecond); read.Add(1) }, "b"})
		}
		return pieces
	}
	replaying(t, "retry: {statusCodes: [503], backOff: {baseInterval: 1ms}}", body, func(n int, w http.ResponseWriter, r *http.Request) {
		if n > 1 {
			before.Store(read.Load())
			sendBack(w, r)
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		answer(w)
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}, func(t *testing.T, r *replayed) {
		r.expect(t, "a"+strings.Repeat("b", 20))
		if n := before.Load(); n > 1 {
			t.Errorf("%d pieces were read for the attempt that was over", n)
		}
	})
}

// TestBodyTooLongForHedge has a body become too long to be kept while two attempts send it:
// the one that is behind is sent no more than its beginning.
func TestBodyTooLongForHedge(t *testing.T) {
	begin := strings.Repeat("a", 2<<20) // which does not go out before it is read
	body := func() []piece {
		return []piece{{nil, begin}, {sleep(time.Second), strings.Repeat("b", 100)}, {sleep(time.Second), "c"}}
	}
	sent := make(chan string, 1)
	replaying(t, fmt.Sprintf("retry: {bufferLimit: %d}, hedge: {delay: 10ms}", len(begin)+10), body, func(n int, w http.ResponseWriter, r *http.Request) {
		if n == 1 {
			_, _ = io.Copy(io.Discard, r.Body)
			time.Sleep(10 * time.Second)
			_, _ = io.WriteString(w, "answer")
			return
		}
		time.Sleep(5 * time.Second)
		got, _ := io.ReadAll(r.Body)
		sent <- string(got)
	}, func(t *testing.T, r *replayed) {
		r.expect(t, "answer")
		if got := <-sent; !strings.HasPrefix(begin, got) {
			t.Errorf("an attempt was sent %d bytes, that end with %q", len(got), got[len(got)-10:])
		}
	})
}

// TestMemoryOfBodyForgotten has what was kept of a body be free memory once the call is
// answered, though the body is still being sent.
func TestMemoryOfBodyForgotten(t *testing.T) {
	const size = 32 << 20
	heap := func() uint64 {
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	begin := strings.Repeat("a", size)
	body := func() []piece {
		return []piece{{nil, begin}, {sleep(time.Second), "b"}, {sleep(10 * time.Second), "c"}}
	}
	route := fmt.Sprintf("retry: {statusCodes: [503], bufferLimit: %d}", 2*size)
	replaying(t, route, body, func(_ int, w http.ResponseWriter, r *http.Request) {
		_, _ = io.CopyN(io.Discard, r.Body, size)
		answer(w)
		_, _ = io.Copy(io.Discard, r.Body)
	}, func(t *testing.T, r *replayed) {
		before := heap()
		resp, err := r.post(t)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if kept := mesh.Kept(r.Mesh); kept != size {
			t.Errorf("%d bytes are kept of an answered call whose body has not gone on, want %d", kept, size)
		}
		time.Sleep(2 * time.Second)
		if now := heap(); now > before+size/2 {
			t.Errorf("%d bytes are in use, %d before the call", now, before)
		}
	})
}

// TestNoHedgeWithoutWholeBody has a body be too long to be kept by the time of a hedge: no
// server is sent its beginning.
func TestNoHedgeWithoutWholeBody(t *testing.T) {
	var attempts atomic.Int32
	body := func() []piece {
		attempts.Store(0)
		return []piece{{nil, strings.Repeat("a", 10)}}
	}
	replaying(t, "retry: {bufferLimit: 9}, hedge: {delay: 10ms}", body, func(_ int, w http.ResponseWriter, r *http.Request) {
		attempts.Add(1)
		_, _ = io.Copy(io.Discard, r.Body)
		time.Sleep(time.Second)
		_, _ = io.WriteString(w, "answer")
	}, func(t *testing.T, r *replayed) {
		r.expect(t, "answer")
		if n := attempts.Load(); n != 1 {
			t.Errorf("%d attempts", n)
		}
	})
}

// TestLostHedgeLeavesUploadAlone has a hedge find the body too long to have been kept: that
// attempt is over with the call, but not the upload of the one that answered it.
func TestLostHedgeLeavesUploadAlone(t *testing.T) {
	begin := strings.Repeat("a", 10)
	body := func() []piece {
		return []piece{{nil, begin}, {sleep(time.Second), "b"}, {sleep(time.Second), "c"}}
	}
	replaying(t, "retry: {bufferLimit: 9}, hedge: {delay: 10ms}", body, func(_ int, w http.ResponseWriter, r *http.Request) {
		_, _ = io.CopyN(io.Discard, r.Body, int64(len(begin)))
		time.Sleep(100 * time.Millisecond)
		sendBack(w, r)
	}, func(t *testing.T, r *replayed) { r.expect(t, "bc") })
}

// TestUploadEndsWithCall has the application end a call while it waits for the rest of its
// own body, and nothing be kept of what comes then.
func TestUploadEndsWithCall(t *testing.T) {
	body := func() []piece { return []piece{{nil, "a"}, {sleep(10 * time.Second), "b"}} }
	replaying(t, "retry: {statusCodes: [503]}", body, func(_ int, w http.ResponseWriter, r *http.Request) { sendBack(w, r) },
		func(t *testing.T, r *replayed) {
			resp, err := r.post(t)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
		})
}

// TestWaitingUploadEndsWithCall has the application end a call whose attempt waits for what
// another one reads of the body: its server is told at once.
func TestWaitingUploadEndsWithCall(t *testing.T) {
	body := func() []piece { return []piece{{nil, "a"}, {sleep(10 * time.Second), "b"}} }
	ended := make(chan time.Time, 2)
	replaying(t, "hedge: {delay: 10ms}", body, func(n int, w http.ResponseWriter, r *http.Request) {
		if n == 2 {
			answer(w)
		}
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
		if n == 2 {
			ended <- time.Now()
		}
	}, func(t *testing.T, r *replayed) {
		resp, err := r.post(t)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		now := time.Now()
		_ = resp.Body.Close()
		if at := <-ended; at != now {
			t.Errorf("the server was told %v later", at.Sub(now))
		}
	})
}

// TestBackoffCountsFromAnswer has what is left of a failure come slowly: a backoff that is over
// by then does not begin anew.
func TestBackoffCountsFromAnswer(t *testing.T) {
	const rest = 45 * time.Millisecond
	var answered, next time.Time
	body := func() []piece { return []piece{{nil, "a"}} }
	replaying(t, "retry: {statusCodes: [503], backOff: {baseInterval: 40ms, maxInterval: 40ms}}", body, func(n int, w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if n > 1 {
			next = time.Now()
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		answer(w)
		answered = time.Now()
		time.Sleep(rest)
	}, func(t *testing.T, r *replayed) {
		r.expect(t, "")
		if waited := next.Sub(answered); waited != rest {
			t.Errorf("the next attempt came after %v, want %v", waited, rest)
		}
	})
}
