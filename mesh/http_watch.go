package mesh

import (
	"io"
	"net/http"
	"net/http/httptrace"

	"github.com/weft-mesh/weft/balancer"
	"github.com/weft-mesh/weft/telemetry/orca"
)

// watched has the latency of a request count from when it has a connection: what it
// takes to make one says nothing of an endpoint's load.
func (x *exchange) watched(req *http.Request) *http.Request {
	return req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { x.call.Sent() },
	}))
}

// learnLoad takes the load that a response reports.
func learnLoad(link *balancer.Link, resp *http.Response) {
	if reportLoad(link, resp.Header) || resp.Body == nil || resp.Body == http.NoBody {
		return
	}
	if _, upgraded := resp.Body.(io.Writer); !upgraded {
		resp.Body = &loadBody{ReadCloser: resp.Body, link: link, resp: resp}
	}
}

// reportLoad passes on a report, and says whether there was one. A bad one is none, as
// in Envoy.
func reportLoad(link *balancer.Link, h http.Header) bool {
	report, err := orca.ParseHeader(h)
	if report != nil {
		link.ReportLoad((*balancer.Load)(report))
	}
	return report != nil || err != nil
}

// loadBody is a response's body after which a report may come.
type loadBody struct {
	io.ReadCloser
	link *balancer.Link
	resp *http.Response // nil when it was looked at
}

func (b *loadBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF && b.resp != nil {
		reportLoad(b.link, b.resp.Trailer)
		b.resp = nil
	}
	return n, err
}
