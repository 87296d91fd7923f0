package envoy

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// request is a call to make, by HTTP or by gRPC.
type request struct {
	method string // empty is GET; gRPC has no other than POST
	host   string
	path   string   // with the query
	header []string // names and values in turn
	body   string
	once   bool // there is no other way to the body than to read it
}

// answer is what came of it.
type answer struct {
	// Refused says why there is no answer: noRoute, noEndpoints, or an error.
	Refused string
	// Seen is what the backend saw; nil if none was asked.
	Seen *seen
	// Status is HTTP's, or -1 and below for gRPC's.
	Status int
	Header http.Header
	// Trailer is that of a gRPC call that succeeded.
	Trailer http.Header
	// Body is that of an answer which no backend gave.
	Body string
}

// side is one of the two that are compared: Envoy with plain clients, or Weft.
type side struct {
	name string
	http http.RoundTripper
	// dial returns a channel to a host.
	dial func(host string) (*grpc.ClientConn, error)
	// refused tells answers that are refusals.
	refused func(a *answer, err error)

	mu    sync.Mutex
	conns map[string]*grpc.ClientConn
}

const (
	envoyNode   = "envoy"
	weftNode    = "weft"
	noRoute     = "no route"
	noEndpoints = "no endpoints"
)

// envoySide calls through p with a plain http.Transport and plain grpc-go.
func envoySide(t *testing.T, p *process) *side {
	base := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, p.http)
	}}
	t.Cleanup(base.CloseIdleConnections)
	s := &side{name: "Envoy", http: base}
	s.dial = func(host string) (*grpc.ClientConn, error) {
		return grpc.NewClient("passthrough:///"+p.http, grpc.WithAuthority(host),
			grpc.WithTransportCredentials(insecure.NewCredentials()))
	}
	s.refused = func(a *answer, _ error) {
		flags := a.Header.Get(flagsHeader)
		a.Header.Del(flagsHeader)
		switch flags {
		case "", "-", "RL", "RLSE", "FI", "DI", "DI,FI": // over a rate limit, or a fault: an answer of policy
		case "NR":
			*a = answer{Refused: noRoute}
		case "UH":
			refused := answer{Refused: noEndpoints}
			if a.Status != http.StatusServiceUnavailable && a.Status != -int(codes.Unavailable) {
				refused.Status = a.Status // that policy has for it
			}
			*a = refused
		default:
			a.Refused = flags
		}
	}
	s.closeAtEnd(t)
	return s
}

// weftSide calls through a mesh.
func weftSide(t *testing.T, xds string, s setup) *side {
	bootstrap, err := json.Marshal(object{
		"xds_servers": []object{{
			"server_uri":      xds,
			"channel_creds":   []object{{"type": "insecure"}},
			"server_features": []string{"trusted_xds_server"}, // it may rewrite hosts of gRPC calls (gRFC A81)
		}},
		"node": object{"id": weftNode, "cluster": t.Name(), "locality": object{"zone": s.zone}},
		"weft": object{"local_cluster": s.local},
	})
	if err != nil {
		t.Fatal(err)
	}
	m := meshtest.New(t, append(s.options, mesh.WithBootstrap(bootstrap), mesh.WithLogger(slog.New(slog.DiscardHandler)))...)
	client := m.HTTPClient()
	t.Cleanup(client.CloseIdleConnections)
	w := &side{name: "Weft", http: meshHosts{client.Transport}}
	w.dial = func(host string) (*grpc.ClientConn, error) { return m.Dial(host) }
	w.refused = func(a *answer, err error) {
		switch {
		case errors.Is(err, mesh.ErrNoRoute):
			*a = answer{Refused: noRoute}
		case errors.Is(err, mesh.ErrNoEndpoints):
			refused := answer{Refused: noEndpoints}
			if a.Status != 0 && a.Status != -int(codes.Unavailable) {
				refused.Status = a.Status
			}
			*a = refused
		}
	}
	w.closeAtEnd(t)
	return w
}

// meshHosts sends all requests to one target of the mesh, whatever host they name.
type meshHosts struct{ http.RoundTripper }

func (h meshHosts) RoundTrip(r *http.Request) (*http.Response, error) {
	u := *r.URL
	u.Host = httpTarget
	r.URL = &u
	return h.RoundTripper.RoundTrip(r)
}

// httpTarget is the listener by which HTTP goes.
const httpTarget = "callers"

func (s *side) closeAtEnd(t *testing.T) {
	s.conns = map[string]*grpc.ClientConn{}
	t.Cleanup(func() {
		for _, c := range s.conns {
			c.Close()
		}
	})
}

// callHTTP makes a request by HTTP/1.1.
func (s *side) callHTTP(ctx context.Context, r request) (a answer) {
	u, err := url.Parse("http://" + r.host + r.path)
	if err != nil {
		return answer{Refused: err.Error()}
	}
	req, err := http.NewRequestWithContext(ctx, r.method, u.String(), strings.NewReader(r.body))
	if err != nil {
		return answer{Refused: err.Error()}
	}
	if r.body == "" {
		req.Body = nil
	}
	if r.once {
		req.GetBody = nil
	}
	req.Header.Set("User-Agent", "oracle")
	for i := 0; i < len(r.header); i += 2 {
		req.Header.Add(r.header[i], r.header[i+1])
	}
	resp, err := s.http.RoundTrip(req)
	if err != nil {
		a.Refused = err.Error()
		s.refused(&a, err)
		return a
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{Refused: err.Error()}
	}
	a = answer{Status: resp.StatusCode, Header: resp.Header.Clone(), Body: string(body)}
	s.refused(&a, nil)
	a.read(false)
	return a
}

// callGRPC makes it by gRPC.
func (s *side) callGRPC(ctx context.Context, r request) (a answer) {
	conn, err := s.conn(r.host)
	if err != nil {
		return answer{Refused: err.Error()}
	}
	ctx = metadata.AppendToOutgoingContext(ctx, r.header...)
	var header, trailer metadata.MD
	reply := new(wrapperspb.StringValue)
	err = conn.Invoke(ctx, r.path, wrapperspb.String(r.body), reply, grpc.Header(&header), grpc.Trailer(&trailer))
	a = answer{Header: http.Header{}, Body: reply.GetValue()}
	if err != nil {
		header = trailer // all that there is; of an answer by policy, Weft has the status alone
		a.Status = -int(status.Code(err))
		a.Body = status.Convert(err).Message()
	}
	for name, values := range header {
		for _, v := range values {
			a.Header.Add(name, v)
		}
	}
	if err == nil {
		a.Trailer = http.Header(trailer)
	}
	s.refused(&a, err)
	if err != nil {
		a.Header = nil
	}
	a.read(true)
	return a
}

func (s *side) conn(host string) (*grpc.ClientConn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.conns[host]; c != nil {
		return c, nil
	}
	c, err := s.dial(host)
	if err == nil {
		s.conns[host] = c
	}
	return c, err
}

// read takes what a backend told out of the body.
func (a *answer) read(grpc bool) {
	var s seen
	if json.Unmarshal([]byte(a.Body), &s) == nil && s.Backend != "" {
		a.Seen, a.Body = &s, ""
	}
	a.normalise(grpc)
}
