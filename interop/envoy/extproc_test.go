package envoy

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	insecurev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/grpc_service/channel_credentials/insecure/v3"
	servicev3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weft-mesh/weft/filter/extproc"
	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// processed is a case of external processing: a configuration, and what a server answers.
type processed struct {
	name   string
	config string // of an ExternalProcessor, but for its service
	answer answerer
	only   string // "GET", "short", "unsized", "long": the requests, all if empty

	last eventKind // where the stream outlives the call: the last event; else nil
}

// answerer is what a server says to an event: nothing, repliesItself, and an error for the end.
type answerer func(*servicev3.ProcessingRequest) ([]*servicev3.ProcessingResponse, error)

// TestExternalProcessing has servers see and change bodies, on clients and on servers: what
// comes to the backend, to the caller and to the processing server is the same.
func TestExternalProcessing(t *testing.T) {
	var cases []processed
	for _, mode := range []string{"STREAMED", "BUFFERED", "BUFFERED_PARTIAL"} {
		for _, dir := range []string{"request", "response"} {
			config := fmt.Sprintf("processing_mode: {%s_body_mode: %s}", dir, mode)
			quiet := fmt.Sprintf("processing_mode: {%s_body_mode: %s, request_header_mode: SKIP, response_header_mode: SKIP}", dir, mode)
			add := func(name, only, config string, a answerer) {
				cases = append(cases, processed{name: fmt.Sprintf("%s %s, %s", dir, name, mode), config: config, answer: a, only: only})
			}
			const short, all = "GET short unsized", "GET short unsized long"
			failing, unheaded := short, all
			switch {
			case dir == "response" && mode == "STREAMED": // a short one has come to Envoy before its header is sent, or not
				failing = "long"
			case dir == "response" && mode == "BUFFERED": // Envoy has sent the header when there is too much
				unheaded = short
			}
			add("left alone", all, config, leaves)
			add("left alone, without headers", unheaded, quiet, leaves)
			add("replaced by as much", short, config, replaces("x"))
			add("replaced by more", "GET unsized", config, replaces("yy"))
			add("cleared", "GET unsized", config, clears)
			add("answered", failing, config, repliesItself)
			add("failed", failing, config, failsAt(bodyEnd))
			add("failed, and that is allowed", failing, config+", failure_mode_allow: true", failsAt(bodyEnd))
			add("wrong", failing, config, wrongAt(bodyEnd))
			add("and the stream is over", all, config, endsAt(bodyEnd))
			add("asked for", short, "allow_mode_override: true", asksFor(dir, mode))
			add("asked for in vain", all, "", asksFor(dir, mode))
			add("not wanted", short, "allow_mode_override: true, "+config, asksFor(dir, "NONE"))
			add("replaced at the headers", "short unsized", config, replacesAtHeaders)
			if mode != "STREAMED" { // where headers may have gone
				add("with headers", short, config, marks)
			}
			if mode == "BUFFERED" {
				add("late", "short", inHalfASecond+config, silentAt(bodyEnd))
				add("late, and that is allowed", "short", inHalfASecond+"failure_mode_allow: true, "+config, silentAt(bodyEnd))
			}
			if mode == "STREAMED" {
				add("observed", all, observing+config, leaves)
				cases[len(cases)-1].last = map[string]eventKind{"request": responseEvent, "response": bodyEnd}[dir]
			}
		}
	}
	cases = append(cases,
		processed{name: "both left alone, duplex", config: "processing_mode: {request_body_mode: FULL_DUPLEX_STREAMED, request_trailer_mode: SEND, response_body_mode: FULL_DUPLEX_STREAMED, response_trailer_mode: SEND}", answer: echoes, only: ""},
		processed{name: "headers answered with the body, duplex", config: "processing_mode: {request_body_mode: FULL_DUPLEX_STREAMED, request_trailer_mode: SEND}", answer: echoesLate, only: "short unsized"},
		processed{name: "body sent before headers are answered", config: "send_body_without_waiting_for_header_response: true, processing_mode: {request_body_mode: STREAMED}", answer: leaves, only: ""},
		processed{name: "length set, BUFFERED", config: "processing_mode: {request_body_mode: BUFFERED}", answer: setsLength, only: "short"},
	)
	for _, where := range []string{"client", "server"} {
		t.Run(where, func(t *testing.T) { compareProcessed(t, where == "server", cases) })
	}
}

const (
	inHalfASecond = "message_timeout: {nanos: 500000000}, "
	observing     = "observability_mode: true, deferred_close_timeout: {seconds: 1}, "
)

// compareProcessed has both sides go through all cases.
func compareProcessed(t *testing.T, server bool, cases []processed) {
	servers := [2]*processingServer{{}, {}}
	at := [2]string{servers[0].serve(t).Addr, servers[1].serve(t).Addr}
	filters := func(side int, credentials ...*anypb.Any) (list []*hcmv3.HttpFilter) {
		for i, c := range cases {
			m := new(extprocv3.ExternalProcessor)
			if err := prototext.Unmarshal([]byte(c.config), m); err != nil {
				t.Fatalf("%s: %v", c.config, err)
			}
			if m.GetMessageTimeout() == nil {
				m.MessageTimeout = durationpb.New(long)
			}
			m.GrpcService = &corev3.GrpcService{TargetSpecifier: &corev3.GrpcService_GoogleGrpc_{GoogleGrpc: &corev3.GrpcService_GoogleGrpc{
				TargetUri: at[side], StatPrefix: "p", ChannelCredentialsPlugin: credentials,
			}}}
			list = append(list, &hcmv3.HttpFilter{Name: fmt.Sprint("case-", i), Disabled: true, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(t, m)}})
		}
		return list
	}
	s := setup{filters: filters(0)}
	var p *pair
	if server {
		p = s.inboundPair(t, false)
		p.weft.callFromHosts(t, processedServer(t, p.cp.Addr).Addr)
	} else {
		s.options = []mesh.Option{mesh.WithFilter(extproc.Kind())}
		p = s.pair(t, false)
	}
	p.filters = filters(1, pack(t, &insecurev3.InsecureCredentials{}))
	rules := &policy{routes: &routev3.RouteConfiguration{Name: routesName}}
	h := &routev3.VirtualHost{Name: "h", Domains: []string{"*"}}
	for i := range cases {
		on := pack(t, &extprocv3.ExtProcPerRoute{Override: &extprocv3.ExtProcPerRoute_Overrides{Overrides: &extprocv3.ExtProcOverrides{}}})
		h.Routes = append(h.Routes, &routev3.Route{
			Match:                &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Path{Path: fmt.Sprint("/", i)}},
			Action:               &routev3.Route_Route{Route: &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: "a"}}},
			TypedPerFilterConfig: map[string]*anypb.Any{fmt.Sprint("case-", i): on},
		})
	}
	rules.routes.VirtualHosts = []*routev3.VirtualHost{h}
	rules.cluster(t, "a", false, endpoint(t, meshtest.HTTP(t, http.HandlerFunc(tellBody))))
	if !p.apply(t, rules) {
		t.Fatalf("both refuse it: %v", p.rejections())
	}
	for i, c := range cases {
		for _, kind := range []string{"GET", "short", "unsized", "long"} {
			if c.only != "" && !slices.Contains(strings.Fields(c.only), kind) {
				continue
			}
			t.Run(c.name+", "+kind, func(t *testing.T) {
				var outcomes [2]processedOutcome
				for side, s := range p.sides() {
					servers[side].reset(c.answer)
					outcomes[side] = callProcessed(t, s, fmt.Sprint("/", i), kind)
					outcomes[side].Events = servers[side].told(t, s.name, c.last)
				}
				if outcomes[0].Status == http.StatusRequestEntityTooLarge { // of which Envoy tells the server
					outcomes[0].Events = slices.DeleteFunc(outcomes[0].Events, func(e string) bool { return strings.Contains(e, ":status=413") })
				}
				if diff := gocmp.Diff(outcomes[0], outcomes[1]); diff != "" {
					t.Errorf("%s (-Envoy +Weft):\n%s", c.config, diff)
				}
			})
		}
	}
}

// processedServer is one that goes by Weft and has the backend's handler.
func processedServer(t *testing.T, xds string) *meshtest.Backend {
	bootstrap, err := json.Marshal(object{
		"xds_servers": []object{{"server_uri": xds, "channel_creds": []object{{"type": "insecure"}}, "server_features": []string{"trusted_xds_server"}}},
		"node":        object{"id": weftNode, "cluster": t.Name()},
	})
	if err != nil {
		t.Fatal(err)
	}
	m := meshtest.New(t, mesh.WithBootstrap(bootstrap), mesh.WithLogger(slog.New(slog.DiscardHandler)), mesh.WithFilter(extproc.Kind()))
	return meshtest.HTTP(t, m.Handler(inboundName, http.HandlerFunc(tellBody)))
}

// processedOutcome is what is compared.
type processedOutcome struct {
	Status int
	Header http.Header
	Body   string
	Broken bool // the response broke off
	Failed bool // there was none
	Events []string
}

// tellBody answers with how the request's body came, and as much as there was.
func tellBody(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	w.Header().Set("X-Seen", fmt.Sprintf("%s %d bytes", cmp.Or(r.Header.Get("X-Mark"), "unmarked"), len(body)))
	w.Header().Set("Content-Type", "text/plain")
	answer := append([]byte("got "), body...)
	if len(body)%2 == 1 {
		w.Header().Set("Content-Length", fmt.Sprint(len(answer)))
	}
	_, _ = w.Write(answer)
	_ = http.NewResponseController(w).Flush()
}

func callProcessed(t *testing.T, s *side, path, kind string) (o processedOutcome) {
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	method, body := http.MethodPost, io.Reader(strings.NewReader("hello"))
	switch kind {
	case "GET":
		method, body = http.MethodGet, nil
	case "unsized":
		body = struct{ io.Reader }{strings.NewReader("hello!")}
	case "long":
		body = bytes.NewReader(bytes.Repeat([]byte("a"), 3<<20))
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://127.0.0.1"+path, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("User-Agent", "oracle")
	resp, err := s.http.RoundTrip(req)
	if err != nil {
		return processedOutcome{Failed: true}
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	o = processedOutcome{Status: resp.StatusCode, Header: resp.Header.Clone(), Body: summary(got), Broken: err != nil}
	if o.Broken {
		o.Body = "" // how much of it came is up to chance
	}
	if o.Status >= 400 && strings.HasPrefix(o.Body, "external processing ") {
		o.Body = "" // what Weft says of a failure of which Envoy says nothing
		drop(o.Header, "Content-Type")
	}
	drop(o.Header, "Server", "Date", "X-Envoy-Upstream-Service-Time", "Connection", "Content-Length", "Trailer", flagsHeader)
	return o
}

func summary(b []byte) string {
	if len(b) > 100 {
		return fmt.Sprintf("%.10s... of %d", b, len(b))
	}
	return string(b)
}

// processingServer records what it is told, and answers as the case has it.
type processingServer struct {
	servicev3.UnimplementedExternalProcessorServer

	mu     sync.Mutex
	answer answerer
	events []*servicev3.ProcessingRequest
	under  int // streams under way
}

func (s *processingServer) serve(t *testing.T) *meshtest.Backend {
	return meshtest.GRPC(t, func(r grpc.ServiceRegistrar) { servicev3.RegisterExternalProcessorServer(r, s) })
}

func (s *processingServer) reset(a answerer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer, s.events = a, nil
}

func (s *processingServer) Process(stream grpc.BidiStreamingServer[servicev3.ProcessingRequest, servicev3.ProcessingResponse]) error {
	s.mu.Lock()
	answer := s.answer
	s.under++
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.under--
		s.mu.Unlock()
	}()
	for {
		in, err := stream.Recv()
		if err != nil {
			return nil
		}
		s.mu.Lock()
		s.events = append(s.events, in)
		s.mu.Unlock()
		out, err := answer(in)
		for _, one := range out {
			if err := stream.Send(one); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// told is what the server was told of a call that has ended. Of bodies it says what came in
// all, as pieces are of any length.
func (s *processingServer) told(t *testing.T, side string, last eventKind) (list []string) {
	t.Helper()
	await(t, "the end of a stream of "+side, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		if last != nil {
			return slices.ContainsFunc(s.events, last)
		}
		return s.under == 0
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	var body []byte
	for i, e := range s.events {
		b, name := e.GetRequestBody(), "request body"
		if b == nil {
			b, name = e.GetResponseBody(), "response body"
		}
		if b == nil {
			list = append(list, headersOf(e))
			continue
		}
		body = append(body, b.GetBody()...)
		if i+1 < len(s.events) && !b.GetEndOfStream() {
			if next := s.events[i+1]; next.GetRequestBody() != nil && e.GetRequestBody() != nil || next.GetResponseBody() != nil && e.GetResponseBody() != nil {
				continue
			}
		}
		what := summary(body)
		if len(body) > 1000 && !b.GetEndOfStream() {
			what = "some"
		}
		list = append(list, fmt.Sprintf("%s %q, end: %v", name, what, b.GetEndOfStream()))
		body = nil
	}
	return list
}

func headersOf(e *servicev3.ProcessingRequest) string {
	h := e.GetRequestHeaders()
	if h == nil {
		h = e.GetResponseHeaders()
	}
	if h == nil {
		return fmt.Sprintf("%T", e.GetRequest())
	}
	var list []string
	for _, v := range h.GetHeaders().GetHeaders() {
		switch v.GetKey() {
		case ":authority", "host", "content-length", flagsHeader, "x-forwarded-proto", "x-envoy-expected-rq-timeout-ms", "x-envoy-upstream-service-time", "date", "server", "accept-encoding", "transfer-encoding", "x-forwarded-for", "x-envoy-internal":
		default:
			list = append(list, v.GetKey()+"="+string(v.GetRawValue()))
		}
	}
	slices.Sort(list)
	return fmt.Sprintf("%T %s, end: %v", e.GetRequest(), strings.Join(list, " "), h.GetEndOfStream())
}

// eventKind is what an event is about.
type eventKind func(*servicev3.ProcessingRequest) bool

func bodyEvent(e *servicev3.ProcessingRequest) bool {
	return e.GetRequestBody() != nil || e.GetResponseBody() != nil
}

// bodyEnd is the event with which all of a body has come: how many there are before that is
// up to how it came.
func bodyEnd(e *servicev3.ProcessingRequest) bool {
	return e.GetRequestBody().GetEndOfStream() || e.GetResponseBody().GetEndOfStream()
}

func responseEvent(e *servicev3.ProcessingRequest) bool { return e.GetResponseHeaders() != nil }

// common answers an event.
func common(e *servicev3.ProcessingRequest, c *servicev3.CommonResponse) []*servicev3.ProcessingResponse {
	out := &servicev3.ProcessingResponse{}
	switch e.GetRequest().(type) {
	case *servicev3.ProcessingRequest_RequestHeaders:
		out.Response = &servicev3.ProcessingResponse_RequestHeaders{RequestHeaders: &servicev3.HeadersResponse{Response: c}}
	case *servicev3.ProcessingRequest_ResponseHeaders:
		out.Response = &servicev3.ProcessingResponse_ResponseHeaders{ResponseHeaders: &servicev3.HeadersResponse{Response: c}}
	case *servicev3.ProcessingRequest_RequestBody:
		out.Response = &servicev3.ProcessingResponse_RequestBody{RequestBody: &servicev3.BodyResponse{Response: c}}
	case *servicev3.ProcessingRequest_ResponseBody:
		out.Response = &servicev3.ProcessingResponse_ResponseBody{ResponseBody: &servicev3.BodyResponse{Response: c}}
	case *servicev3.ProcessingRequest_RequestTrailers:
		out.Response = &servicev3.ProcessingResponse_RequestTrailers{RequestTrailers: &servicev3.TrailersResponse{}}
	case *servicev3.ProcessingRequest_ResponseTrailers:
		out.Response = &servicev3.ProcessingResponse_ResponseTrailers{ResponseTrailers: &servicev3.TrailersResponse{}}
	}
	return []*servicev3.ProcessingResponse{out}
}

func leaves(e *servicev3.ProcessingRequest) ([]*servicev3.ProcessingResponse, error) {
	return common(e, nil), nil
}

func bodyOf(e *servicev3.ProcessingRequest) *servicev3.HttpBody {
	if b := e.GetRequestBody(); b != nil {
		return b
	}
	return e.GetResponseBody()
}

// replaces puts as often as the body has bytes something in its place.
func replaces(by string) answerer {
	return atBodies(func(e *servicev3.ProcessingRequest) ([]*servicev3.ProcessingResponse, error) {
		return common(e, &servicev3.CommonResponse{BodyMutation: &servicev3.BodyMutation{Mutation: &servicev3.BodyMutation_Body{
			Body: bytes.Repeat([]byte(by), len(bodyOf(e).GetBody())),
		}}}), nil
	})
}

func atBodies(a answerer) answerer {
	return func(e *servicev3.ProcessingRequest) ([]*servicev3.ProcessingResponse, error) {
		if bodyEvent(e) {
			return a(e)
		}
		return leaves(e)
	}
}

func at(k eventKind, a answerer) answerer {
	return func(e *servicev3.ProcessingRequest) ([]*servicev3.ProcessingResponse, error) {
		if k(e) {
			return a(e)
		}
		return leaves(e)
	}
}

var clears = atBodies(func(e *servicev3.ProcessingRequest) ([]*servicev3.ProcessingResponse, error) {
	return common(e, &servicev3.CommonResponse{BodyMutation: &servicev3.BodyMutation{Mutation: &servicev3.BodyMutation_ClearBody{ClearBody: true}}}), nil
})

var repliesItself = at(bodyEnd, func(*servicev3.ProcessingRequest) ([]*servicev3.ProcessingResponse, error) {
	return []*servicev3.ProcessingResponse{{Response: &servicev3.ProcessingResponse_ImmediateResponse{ImmediateResponse: &servicev3.ImmediateResponse{
		Status: &typev3.HttpStatus{Code: typev3.StatusCode_Conflict}, Body: []byte("no"), Headers: setting("x-why", "because"),
	}}}}, nil
})

func setting(name, value string) *servicev3.HeaderMutation {
	return &servicev3.HeaderMutation{SetHeaders: []*corev3.HeaderValueOption{{
		Header: &corev3.HeaderValue{Key: name, RawValue: []byte(value)}, AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}}}
}

func failsAt(k eventKind) answerer {
	return at(k, func(*servicev3.ProcessingRequest) ([]*servicev3.ProcessingResponse, error) {
		return nil, status.Error(codes.Internal, "oh")
	})
}

func endsAt(k eventKind) answerer {
	return at(k, func(*servicev3.ProcessingRequest) ([]*servicev3.ProcessingResponse, error) { return nil, io.EOF })
}

func silentAt(k eventKind) answerer {
	return at(k, func(*servicev3.ProcessingRequest) ([]*servicev3.ProcessingResponse, error) { return nil, nil })
}

func wrongAt(k eventKind) answerer {
	return at(k, func(*servicev3.ProcessingRequest) ([]*servicev3.ProcessingResponse, error) {
		return []*servicev3.ProcessingResponse{{Response: &servicev3.ProcessingResponse_RequestTrailers{RequestTrailers: &servicev3.TrailersResponse{}}}}, nil
	})
}

// marks sets x-mark with each answer.
func marks(e *servicev3.ProcessingRequest) ([]*servicev3.ProcessingResponse, error) {
	name := strings.TrimPrefix(fmt.Sprintf("%T", e.GetRequest()), "*ext_procv3.ProcessingRequest_")
	return common(e, &servicev3.CommonResponse{HeaderMutation: setting("x-mark", name)}), nil
}

func asksFor(dir, mode string) answerer {
	return func(e *servicev3.ProcessingRequest) ([]*servicev3.ProcessingResponse, error) {
		out := common(e, nil)
		if !bodyEvent(e) {
			m := &extprocv3.ProcessingMode{}
			value := extprocv3.ProcessingMode_BodySendMode(extprocv3.ProcessingMode_BodySendMode_value[mode])
			if dir == "request" {
				m.RequestBodyMode = value
			} else {
				m.ResponseBodyMode = value
			}
			out[0].ModeOverride = m
		}
		return out, nil
	}
}

var replacesAtHeaders = at(func(e *servicev3.ProcessingRequest) bool { return !bodyEvent(e) }, func(e *servicev3.ProcessingRequest) ([]*servicev3.ProcessingResponse, error) {
	return common(e, &servicev3.CommonResponse{
		Status:       servicev3.CommonResponse_CONTINUE_AND_REPLACE,
		BodyMutation: &servicev3.BodyMutation{Mutation: &servicev3.BodyMutation_Body{Body: []byte("another")}},
	}), nil
})

// echoes has what comes go on, in the duplex mode.
var echoes = atBodies(func(e *servicev3.ProcessingRequest) ([]*servicev3.ProcessingResponse, error) {
	return common(e, echoed(e)), nil
})

func echoed(e *servicev3.ProcessingRequest) *servicev3.CommonResponse {
	return &servicev3.CommonResponse{BodyMutation: &servicev3.BodyMutation{Mutation: &servicev3.BodyMutation_StreamedResponse{
		StreamedResponse: &servicev3.StreamedBodyResponse{Body: bodyOf(e).GetBody(), EndOfStream: bodyOf(e).GetEndOfStream()},
	}}}
}

// echoesLate answers the header when the whole body has come.
func echoesLate(e *servicev3.ProcessingRequest) ([]*servicev3.ProcessingResponse, error) {
	switch {
	case e.GetRequestHeaders() != nil && !e.GetRequestHeaders().GetEndOfStream():
		return nil, nil
	case e.GetRequestBody() != nil && e.GetRequestBody().GetEndOfStream():
		header := common(&servicev3.ProcessingRequest{Request: &servicev3.ProcessingRequest_RequestHeaders{}}, &servicev3.CommonResponse{HeaderMutation: setting("x-mark", "late")})
		return append(header, common(e, &servicev3.CommonResponse{BodyMutation: &servicev3.BodyMutation{Mutation: &servicev3.BodyMutation_StreamedResponse{
			StreamedResponse: &servicev3.StreamedBodyResponse{Body: []byte("whole"), EndOfStream: true},
		}}})...), nil
	case e.GetRequestBody() != nil:
		return nil, nil
	}
	return leaves(e)
}

// setsLength replaces a body, and says how long it is then.
var setsLength = atBodies(func(e *servicev3.ProcessingRequest) ([]*servicev3.ProcessingResponse, error) {
	return common(e, &servicev3.CommonResponse{
		HeaderMutation: setting("content-length", "6"),
		BodyMutation:   &servicev3.BodyMutation{Mutation: &servicev3.BodyMutation_Body{Body: []byte("longer")}},
	}), nil
})
