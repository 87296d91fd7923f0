package main

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

const callers = 4

// calls are calls of the shop without a pause, and what became of them.
type calls struct {
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu    sync.Mutex
	total counts
	of    map[string]counts // by version, since the last reset
}

// counts are the calls of a while.
type counts struct{ calls, failed int }

// rate is the part that failed, in percent.
func (c counts) rate() float64 {
	if c.calls == 0 {
		return 0
	}
	return 100 * float64(c.failed) / float64(c.calls)
}

func startCalls(ctx context.Context, client *http.Client) *calls {
	ctx, cancel := context.WithCancel(ctx)
	c := &calls{cancel: cancel, of: map[string]counts{}}
	for range callers {
		c.done.Go(func() {
			for ctx.Err() == nil {
				// A call in flight is let finish: the calls stop between two.
				version, ok := call(context.WithoutCancel(ctx), client)
				c.count(version, ok)
			}
		})
	}
	return c
}

// call calls the shop and returns which version answered. Policy has that in a header of
// every response, those that are errors too.
func call(ctx context.Context, client *http.Client) (version string, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://shop/orders/7", nil)
	if err != nil {
		return "", false
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", false
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	_, version, _ = strings.Cut(resp.Header.Get("X-Version"), "|")
	return version, err == nil && resp.StatusCode < http.StatusInternalServerError
}

func (c *calls) count(version string, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	of := c.of[version]
	for _, n := range []*counts{&of, &c.total} {
		n.calls++
		if !ok {
			n.failed++
		}
	}
	c.of[version] = of
}

// reset forgets the versions' counts.
func (c *calls) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.of)
}

// seen returns what became of the calls since the last reset.
func (c *calls) seen() (v1, v2 counts) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.of["v1"], c.of["v2"]
}

// stop ends the calls, and returns the counts of all of them.
func (c *calls) stop() counts {
	c.cancel()
	c.done.Wait()
	return c.total
}
