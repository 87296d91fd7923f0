package mesh_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestHedgedUploads has times count from the end of a request whose body is slow, 150 ms
// (Envoy): that after which another attempt stands in for one, and the route's timeout, by
// which a hedge has to end (rows Z3 and Z9).
func TestHedgedUploads(t *testing.T) {
	const byTimeout = "timeout: 1s, retry: {attempts: 2, backOff: {baseInterval: 1ms, maxInterval: 1ms}, perTryTimeout: 50ms}, hedge: {onPerTryTimeout: true}"
	for _, c := range []struct {
		name, route string
		learn       int  // ms that 40 calls before take
		hangs       bool // the first attempt
		want        string
	}{
		{"per-try", byTimeout, 0, false, "ok@150"},
		{"per-try, hangs", byTimeout, 0, true, "2@200 ok@200"},
		{"time for a hedge", "timeout: 100ms, hedge: {delay: 160ms}", 10, true, "2@160 ok@160"},
		{"no time for a hedge", "timeout: 100ms, hedge: {delay: 200ms}", 80, true, "deadline@250"},
	} {
		for _, p := range []protocol{protocols[1], h2c} {
			t.Run(c.name+"/"+p.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					const learned = 40
					var b *bubble
					b = newBubble(t, p, "", c.route, 1, func(n int) act {
						switch n -= learned; {
						case n <= 0:
							return sleepy(c.learn, act{})
						case n > 1:
							b.say("%d", n)
						}
						return act{hang: c.hangs && n == 1}
					})
					rt := b.transport(t)
					for range learned {
						if _, err := postBody(t.Context(), rt, strings.NewReader("x")); err != nil {
							t.Fatal(err)
						}
					}
					b.restart()
					b.ended(postBody(t.Context(), rt, &slowReader{5, 30 * time.Millisecond}))
					if got := strings.Join(b.trace, " "); got != c.want {
						t.Errorf("got  %s\nwant %s", got, c.want)
					}
					time.Sleep(time.Second) // what lost has ended
				})
			})
		}
	}
}
