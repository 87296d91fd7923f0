package mesh

import (
	"net/http"

	"github.com/weft-mesh/weft/balancer"
)

// tune sets what policy says of connections and net/http lets be set.
func tune(t *http.Transport, c *balancer.Connection) {
	switch {
	case c.IdleTimeout > 0:
		t.IdleConnTimeout = c.IdleTimeout
	case c.IdleTimeout < 0:
		t.IdleConnTimeout = 0
	}
	if c.MaxResponseHeaderBytes > 0 {
		t.MaxResponseHeaderBytes = c.MaxResponseHeaderBytes
	}
	if c.HTTP2 == (balancer.HTTP2{}) {
		return
	}
	var h2 http.HTTP2Config
	if t.HTTP2 != nil {
		h2 = *t.HTTP2
	}
	if c.HTTP2.PingInterval > 0 {
		h2.SendPingTimeout = c.HTTP2.PingInterval
	}
	if c.HTTP2.PingTimeout > 0 {
		h2.PingTimeout = c.HTTP2.PingTimeout
	}
	if n := c.HTTP2.StreamWindow; n > 0 {
		h2.MaxReceiveBufferPerStream = min(n, maxHTTP2Size)
	}
	if n := c.HTTP2.ConnectionWindow; n > 0 {
		h2.MaxReceiveBufferPerConnection = min(n, maxHTTP2Size)
	}
	if n := c.HTTP2.HeaderTableSize; n > 0 {
		h2.MaxDecoderHeaderTableSize = min(n, maxHTTP2Size)
		h2.MaxEncoderHeaderTableSize = min(n, maxHTTP2Size)
	}
	t.HTTP2 = &h2
}

// isolate makes t keep to one connection at a time: policy counts connections, and the
// balancer gives t as many requests as one takes. Without a bound of connections a
// server with a lower limit than that makes t open more, rather than requests wait.
func isolate(t *http.Transport, c *balancer.Connection) {
	if c.MaxPerEndpoint == 0 {
		return
	}
	t.MaxConnsPerHost = 1
	h2 := http.HTTP2Config{}
	if t.HTTP2 != nil {
		h2 = *t.HTTP2
	}
	h2.StrictMaxConcurrentRequests = true
	t.HTTP2 = &h2
}

// maxHTTP2Size is the greatest size that http.HTTP2Config takes.
const maxHTTP2Size = 4<<20 - 1
