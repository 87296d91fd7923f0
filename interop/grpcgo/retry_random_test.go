package grpcgo

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/weft-mesh/weft/interop/internal/seeded"
)

func newGenerator(t *testing.T) generator { return generator{rand.New(rand.NewPCG(seeded.Seed(t), 0))} }

// TestRandomRetries makes up policies, calls and what becomes of their attempts, and expects
// of Weft as many attempts as of grpc-go, and the same end.
func TestRandomRetries(t *testing.T) {
	const policies, calls = 30, 12
	g := newGenerator(t)
	var list []retryPolicy
	for range policies {
		list = append(list, g.retryPolicy())
	}
	p := newRetryPair(t, list...)
	attempts, ends := map[int]int{}, map[codes.Code]int{}
	for n := range policies {
		for range calls {
			e := g.exchange(list[n])
			e.Policy = n
			stock, diff := p.compare(e)
			if diff != "" {
				t.Fatalf("%+v by %v (-grpc-go +Weft):\n%s", e, list[n], diff)
			}
			attempts[len(stock.Attempts)]++
			ends[stock.Code]++
		}
	}
	t.Logf("attempts: %v; ends: %v", attempts, ends)
	if attempts[2] == 0 || attempts[4] == 0 || len(ends) < 5 {
		t.Error("the generator is no good")
	}
}

// retryPolicy has no limit to what is kept between the size of a message and what grpc-go
// counts for it, five bytes more.
func (g generator) retryPolicy() retryPolicy {
	p := retryPolicy{Attempts: 2 + g.IntN(7)}
	for _, i := range g.Perm(len(a44))[:1+g.IntN(len(a44))] {
		p.On = append(p.On, a44[i])
	}
	if g.IntN(3) == 0 {
		p.Buffer = 500
	}
	return p
}

// exchange is one whose attempts are mostly retried.
func (g generator) exchange(p retryPolicy) exchange {
	e := exchange{Kind: g.oneOf("unary", "server", "client", "bidi"), Steps: "s"}
	open := 0 // messages that are sent before the client waits
	switch e.Kind {
	case "server":
		e.Steps = g.oneOf("s", "b") + "c" + g.oneOf("", "h", "r", "rr")
		open = 1
	case "client", "bidi":
		for open < g.IntN(5) {
			e.Steps += g.oneOf("s", "s", "b")
			open++
		}
		open++
		e.Steps += "c" + g.oneOf("", "h", "hr")
	}
	for range 1 + g.IntN(p.Attempts+2) {
		e.Script = append(e.Script, g.turn(p, e, open))
	}
	return e
}

func (g generator) turn(p retryPolicy, e exchange, sent int) turn {
	x := turn{After: -1, Messages: 1}
	if e.Kind == "server" || e.Kind == "bidi" {
		x.Messages = g.IntN(3)
	}
	switch g.IntN(12) {
	case 0:
		return x
	case 1:
		x.End = end(g.oneOf(string(fails), string(drops)))
	case 2:
		x.End, x.Messages = end(g.oneOf(string(refuses), string(goesAway))), 0
		return x
	case 3:
		x.Code = codes.Code(1 + g.IntN(16))
	default:
		_ = x.Code.UnmarshalJSON([]byte(strconv.Quote(statusName(p.On[g.IntN(len(p.On))]))))
	}
	if g.IntN(6) > 0 {
		x.Messages = 0
	}
	x.Headers = g.IntN(12) == 0
	if x.End == drops { // a reset may take along what came before it (RFC 9293, section 3.10.7.4)
		x.Headers, x.Messages = false, 0
	}
	if g.IntN(5) == 0 {
		x.Pushback = []string{g.oneOf("0", "1", "2", "3", "-1", "soon")}
	}
	// Whether a failure comes before a message that is too large to keep is not the server's to say.
	early := e.Kind == "bidi" && (p.Buffer == 0 || !strings.Contains(e.Steps, "b"))
	if early && x.Messages == 0 && !x.Headers && g.IntN(4) == 0 {
		x.After = g.IntN(sent + 1)
	}
	return x
}
