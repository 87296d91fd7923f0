package mesh_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	servicev3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/filter/extproc"
	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// processor is an ext_proc server: what it answers to each event. Nil is no answer.
type processor struct {
	servicev3.UnimplementedExternalProcessorServer
	answer func(*servicev3.ProcessingRequest) []*servicev3.ProcessingResponse
	err    error // the end of streams, in place of answers

	mu      sync.Mutex
	events  []*servicev3.ProcessingRequest
	streams int
	under   int           // streams under way
	ended   chan struct{} // is told when one ends; nil if nobody waits
}

func (p *processor) Process(s grpc.BidiStreamingServer[servicev3.ProcessingRequest, servicev3.ProcessingResponse]) error {
	p.mu.Lock()
	p.streams++
	p.under++
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.under--; p.under == 0 && p.ended != nil {
			close(p.ended)
			p.ended = nil
		}
	}()
	for {
		in, err := s.Recv()
		if err != nil {
			return nil
		}
		p.mu.Lock()
		p.events = append(p.events, in)
		p.mu.Unlock()
		if p.answer == nil {
			return p.err
		}
		for _, out := range p.answer(in) {
			if err := s.Send(out); err != nil {
				return err
			}
		}
	}
}

// wait waits until no stream is under way.
func (p *processor) wait(t *testing.T) {
	t.Helper()
	p.mu.Lock()
	ended := make(chan struct{})
	if p.under == 0 {
		close(ended)
	} else {
		p.ended = ended
	}
	p.mu.Unlock()
	receive(t, "the streams' end", ended)
}

// kinds are the events that the server got, in order.
func (p *processor) kinds() (kinds []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.events {
		kinds = append(kinds, strings.TrimPrefix(fmt.Sprintf("%T", e.GetRequest()), "*ext_procv3.ProcessingRequest_"))
	}
	return kinds
}

// serve starts the server, and returns the fields of a GrpcService that names it.
func (p *processor) serve(t *testing.T) (*meshtest.Backend, string) {
	b := meshtest.GRPC(t, func(r grpc.ServiceRegistrar) { servicev3.RegisterExternalProcessorServer(r, p) })
	return b, processorAt(b.Addr)
}

func processorAt(target string) string {
	return `grpcService: {googleGrpc: {targetUri: "` + target + `", statPrefix: p, channelCredentialsPlugin: [
		{"@type": type.googleapis.com/envoy.extensions.grpc_service.channel_credentials.insecure.v3.InsecureCredentials}]}}`
}

func extprocConfig(fields ...string) string {
	return `{"@type": type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor, ` + strings.Join(fields, ", ") + `}`
}

func extprocOverride(fields string) string {
	return override("p", `{"@type": type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute, `+fields+`}`)
}

// inNoHurry has the mesh wait for slow machines.
const inNoHurry = "messageTimeout: 60s"

func processing(service, routes string, fields ...string) string {
	return filtering(service, []string{httpFilter("p", extprocConfig(fields...))}, routes)
}

func setting(name, value string) *servicev3.HeaderMutation {
	return &servicev3.HeaderMutation{SetHeaders: []*corev3.HeaderValueOption{{
		Header:       &corev3.HeaderValue{Key: name, RawValue: []byte(value)},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}}}
}

// marking is a processor that sets x-mark at each event, and does more with its answer.
func marking(more func(in *servicev3.ProcessingRequest, out *servicev3.ProcessingResponse)) *processor {
	return &processor{answer: func(in *servicev3.ProcessingRequest) []*servicev3.ProcessingResponse {
		out := &servicev3.ProcessingResponse{}
		common := func(m *servicev3.HeaderMutation) *servicev3.HeadersResponse {
			return &servicev3.HeadersResponse{Response: &servicev3.CommonResponse{HeaderMutation: m}}
		}
		switch in.GetRequest().(type) {
		case *servicev3.ProcessingRequest_RequestHeaders:
			m := setting("x-mark", "request")
			m.SetHeaders = append(m.SetHeaders, setting("x-envoy-x", "no").SetHeaders...)
			m.SetHeaders = append(m.SetHeaders, setting(":path", "/no").SetHeaders...)
			m.RemoveHeaders = []string{"x-user"}
			out.Response = &servicev3.ProcessingResponse_RequestHeaders{RequestHeaders: common(m)}
		case *servicev3.ProcessingRequest_ResponseHeaders:
			out.Response = &servicev3.ProcessingResponse_ResponseHeaders{ResponseHeaders: common(setting("x-mark", "response"))}
		case *servicev3.ProcessingRequest_ResponseTrailers:
			out.Response = &servicev3.ProcessingResponse_ResponseTrailers{ResponseTrailers: &servicev3.TrailersResponse{HeaderMutation: setting("x-mark", "trailer")}}
		}
		if more != nil {
			more(in, out)
		}
		return []*servicev3.ProcessingResponse{out}
	}}
}

func rawValues(m *corev3.HeaderMap, name string) (values []string) {
	for _, h := range m.GetHeaders() {
		if h.GetKey() == name {
			values = append(values, string(h.GetRawValue()))
		}
	}
	return values
}

// TestExternalProcessing has a server change the headers of calls.
func TestExternalProcessing(t *testing.T) {
	headers := []string{"RequestHeaders", "ResponseHeaders"}
	for _, test := range []struct {
		name              string
		fields            []string
		routes            string
		request, response string // x-mark
		events            []string
	}{
		{"headers", nil, levels("", "", "", ""), "request", "response", headers},
		{"request only", []string{"processingMode: {responseHeaderMode: SKIP}"}, levels("", "", "", ""), "request", "", headers[:1]},
		{"response only", []string{"processingMode: {requestHeaderMode: SKIP}"}, levels("", "", "", ""), "", "response", headers[1:]},
		{"nothing", []string{"processingMode: {requestHeaderMode: SKIP, responseHeaderMode: SKIP}"}, levels("", "", "", ""), "", "", nil},
		{"observability", []string{"observabilityMode: true", "deferredCloseTimeout: 60s"}, levels("", "", "", ""), "", "", headers},
		{"no mutations", []string{"mutationRules: {disallowAll: true}"}, levels("", "", "", ""), "", "", headers},
		{"some mutations", []string{`mutationRules: {disallowAll: true, allowExpression: {regex: "x-m.*"}}`}, levels("", "", "", ""), "request", "response", headers},
		{"disabled by a route", nil, levels("", "", extprocOverride("disabled: true"), ""), "", "", nil},
		{"enabled again", nil, levels("", extprocOverride("disabled: true"), extprocOverride("overrides: {}"), ""), "request", "response", headers},
		{"mode of a route", nil, levels("", "", extprocOverride("overrides: {processingMode: {requestHeaderMode: SKIP}}"), ""), "", "response", headers[1:]},
	} {
		t.Run(test.name, func(t *testing.T) {
			eachProtocol(t, func(t *testing.T, p protocol) {
				server := marking(nil)
				_, at := server.serve(t)
				m := newMesh(t, processing(p.service("back", echoBackend(t, p)), test.routes, append(test.fields, at, inNoHurry,
					`requestAttributes: [request.path, request.method, nonsense]`, `forwardRules: {disallowedHeaders: {patterns: [{exact: x-secret}]}}`)...),
					mesh.WithFilter(extproc.Kind()))
				got, err := echo(t, m, p, "front", "/shop.Orders/Get", values{"x-user": {"ann"}, "x-secret": {"s"}})
				if err != nil {
					t.Fatal(err)
				}
				observes := test.name == "observability"
				if !observes {
					server.wait(t) // the stream ends with the call
				} else { // what was sent may still be on its way
					for deadline := time.Now().Add(long); len(server.kinds()) < len(test.events) && time.Now().Before(deadline); {
						<-time.After(time.Millisecond)
					}
				}
				one := func(v string) []string {
					if v == "" {
						return nil
					}
					return []string{v}
				}
				if mark := got.Header["x-mark"]; !slices.Equal(mark, one(test.request)) || got.Header["x-envoy-x"] != nil || got.Path != "/shop.Orders/Get" {
					t.Errorf("the backend got %v %s, want x-mark %q", got.Header, got.Path, test.request)
				}
				if mark := got.Response["x-mark"]; !slices.Equal(mark, one(test.response)) {
					t.Errorf("the response has %v, want %q", mark, test.response)
				}
				if user := got.Header["x-user"]; (len(user) == 0) != (test.request != "" && test.name != "some mutations") {
					t.Errorf("x-user is %v", user)
				}
				if events := server.kinds(); !slices.Equal(events, test.events) {
					t.Fatalf("the server got %v, want %v", events, test.events)
				}
				server.mu.Lock()
				defer server.mu.Unlock()
				if server.streams > 1 {
					t.Errorf("there were %d streams for a call", server.streams)
				}
				for i, e := range server.events {
					if e.GetObservabilityMode() != observes || (e.GetProtocolConfig() != nil) != (i == 0) {
						t.Errorf("event %d is %v", i, e)
					}
				}
				if slices.Contains(test.events, "RequestHeaders") {
					e := server.events[0]
					h := e.GetRequestHeaders().GetHeaders()
					if !slices.Equal(rawValues(h, ":path"), []string{"/shop.Orders/Get"}) || !slices.Equal(rawValues(h, "x-user"), []string{"ann"}) || rawValues(h, "x-secret") != nil {
						t.Errorf("the server got the header %v", h)
					}
					if a := e.GetAttributes()["envoy.filters.http.ext_proc"].GetFields(); len(a) != 2 || a["request.path"].GetStringValue() != "/shop.Orders/Get" {
						t.Errorf("the server got attributes %v", a)
					}
				}
			})
		})
	}
}

// TestExternalProcessingTrailer has a server change trailers, by configuration and because
// it asked for them.
func TestExternalProcessingTrailer(t *testing.T) {
	mode := func(_ *servicev3.ProcessingRequest, out *servicev3.ProcessingResponse) {
		out.ModeOverride = &extprocv3.ProcessingMode{ResponseTrailerMode: extprocv3.ProcessingMode_SEND}
	}
	for _, test := range []struct {
		name   string
		server *processor
		fields string
		want   []string // x-mark, or nothing at all if nil
	}{
		{"configured", marking(nil), "processingMode: {responseTrailerMode: SEND}", []string{"trailer"}},
		{"overridden", marking(mode), "allowModeOverride: true", []string{"trailer"}},
		{"override not allowed", marking(mode), "processingMode: {}", nil},
		{"override not among those allowed", marking(mode), "allowModeOverride: true, allowedOverrideModes: [{responseHeaderMode: SKIP}]", nil},
		{"overridden with nothing", marking(func(_ *servicev3.ProcessingRequest, out *servicev3.ProcessingResponse) {
			out.ModeOverride = &extprocv3.ProcessingMode{}
		}), "allowModeOverride: true, processingMode: {responseTrailerMode: SEND}", []string{"trailer"}},
		{"overridden off", marking(func(_ *servicev3.ProcessingRequest, out *servicev3.ProcessingResponse) {
			out.ModeOverride = &extprocv3.ProcessingMode{ResponseTrailerMode: extprocv3.ProcessingMode_SKIP}
		}), "allowModeOverride: true, processingMode: {responseTrailerMode: SEND}", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, p := range protocols {
				_, at := test.server.serve(t)
				m := newMesh(t, processing(p.service("back", p.backend(t, "v1")), levels("", "", "", ""), test.fields, at, inNoHurry), mesh.WithFilter(extproc.Kind()))
				var mark []string
				if p.name == "grpc" {
					var trailer metadata.MD
					err := dial(t, m, "front").Invoke(within(t, long), "/shop.Orders/Get", wrapperspb.String(""), new(wrapperspb.StringValue), grpc.Trailer(&trailer))
					if err != nil || !slices.Equal(trailer["end"], []string{"v1"}) {
						t.Fatalf("trailer %v, %v", trailer, err)
					}
					mark = trailer["x-mark"]
				} else {
					resp, err := m.HTTPClient().Get("http://front/")
					if err != nil {
						t.Fatal(err)
					}
					_, err = io.ReadAll(resp.Body)
					if err := errors.Join(err, resp.Body.Close()); err != nil || resp.Trailer.Get("End") != "v1" {
						t.Fatalf("trailer %v, %v", resp.Trailer, err)
					}
					mark = resp.Trailer["X-Mark"]
				}
				if !slices.Equal(mark, test.want) {
					t.Errorf("%s: x-mark in the trailer is %v, want %v", p.name, mark, test.want)
				}
				test.server.wait(t)
			}
		})
	}
}

// TestExternalProcessingEndsCall has the server answer calls, and fail them.
func TestExternalProcessingEndsCall(t *testing.T) {
	immediate := func(at string) *processor {
		return marking(func(in *servicev3.ProcessingRequest, out *servicev3.ProcessingResponse) {
			if strings.Contains(fmt.Sprintf("%T", in.GetRequest()), at) {
				out.Response = &servicev3.ProcessingResponse_ImmediateResponse{ImmediateResponse: &servicev3.ImmediateResponse{
					Status: &typev3.HttpStatus{Code: typev3.StatusCode_Forbidden}, Body: []byte("not you"), Details: "not you at all",
					Headers: setting("x-why", "because"), GrpcStatus: &servicev3.GrpcStatus{Status: uint32(codes.Aborted)},
				}}
			}
		})
	}
	wrong := marking(func(_ *servicev3.ProcessingRequest, out *servicev3.ProcessingResponse) {
		out.Response = &servicev3.ProcessingResponse_RequestTrailers{}
	})
	bodies := marking(func(_ *servicev3.ProcessingRequest, out *servicev3.ProcessingResponse) {
		out.ModeOverride = &extprocv3.ProcessingMode{RequestBodyMode: 77}
	})
	replaces := marking(func(_ *servicev3.ProcessingRequest, out *servicev3.ProcessingResponse) {
		if h := out.GetRequestHeaders(); h != nil {
			h.Response.Status = servicev3.CommonResponse_CONTINUE_AND_REPLACE
		}
	})
	silent := func() *processor {
		return &processor{answer: func(*servicev3.ProcessingRequest) []*servicev3.ProcessingResponse { return nil }}
	}
	hasty := func() *processor { // asks for less time
		return &processor{answer: func(*servicev3.ProcessingRequest) []*servicev3.ProcessingResponse {
			return []*servicev3.ProcessingResponse{{OverrideMessageTimeout: durationpb.New(time.Millisecond)}}
		}}
	}
	for _, test := range []struct {
		name   string
		server *processor
		gone   bool
		fields []string
		http   string // part of the error; empty if the call goes well
		grpc   codes.Code
	}{
		{"immediate response to the request", immediate("RequestHeaders"), false, nil, "status 403: not you", codes.Aborted},
		{"immediate response to the response", immediate("ResponseHeaders"), false, nil, "status 403: not you", codes.Aborted},
		{"immediate response not allowed", immediate("RequestHeaders"), false, []string{"disableImmediateResponse: true"}, "status 500", codes.Unavailable},
		{"late", silent(), false, []string{"messageTimeout: 0.01s"}, "status 504", codes.Unavailable},
		{"late by default", silent(), false, nil, "status 504", codes.Unavailable},
		{"late, after asking for less time", hasty(), false, []string{"maxMessageTimeout: 1s", inNoHurry}, "status 504", codes.Unavailable},
		{"late, and that is allowed", silent(), false, []string{"messageTimeout: 0.01s", "failureModeAllow: true"}, "", codes.OK},
		{"gone", marking(nil), true, []string{inNoHurry}, "status 500", codes.Unavailable},
		{"gone, with a status", marking(nil), true, []string{inNoHurry, "statusOnError: {code: 503}"}, "status 503", codes.Unavailable},
		{"gone, and that is allowed", marking(nil), true, []string{inNoHurry, "failureModeAllow: true"}, "", codes.OK},
		{"stream fails", &processor{err: status.Error(codes.Internal, "oh")}, false, []string{inNoHurry}, "status 500", codes.Unavailable},
		{"stream fails, and that is allowed", &processor{err: status.Error(codes.Internal, "oh")}, false, []string{inNoHurry, "failureModeAllow: true"}, "", codes.OK},
		{"stream ends well", &processor{}, false, []string{inNoHurry}, "", codes.OK},
		{"wrong answer", wrong, false, []string{inNoHurry}, "status 500", codes.Unavailable},
		{"asks for bodies of an unknown mode", bodies, false, []string{inNoHurry, "allowModeOverride: true"}, "status 500", codes.Unavailable},
		{"replaces", replaces, false, []string{inNoHurry}, "", codes.Unavailable},
		{"forbidden mutation", marking(nil), false, []string{inNoHurry, "mutationRules: {disallowIsError: true}", "failureModeAllow: true"}, "status 500", codes.Internal},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, p := range protocols {
				b, at := test.server.serve(t)
				if test.gone {
					b.Kill()
				}
				fields := append([]string{at}, test.fields...)
				if strings.HasPrefix(test.name, "immediate") {
					fields = append(fields, inNoHurry)
				}
				m := newMesh(t, processing(p.service("back", echoBackend(t, p)), levels("", "", "", ""), fields...), mesh.WithFilter(extproc.Kind()))
				got, err := echo(t, m, p, "front", "/shop.Orders/Get", nil)
				switch {
				case p.name == "grpc" && status.Code(err) != test.grpc:
					t.Errorf("grpc: the call ended with %v, want %v", err, test.grpc)
				case p.name == "http" && test.http == "" && err != nil:
					t.Errorf("http: the call ended with %v", err)
				case p.name == "http" && test.http != "" && (err == nil || !strings.Contains(err.Error(), test.http)):
					t.Errorf("http: the call ended with %v, want %s", err, test.http)
				}
				if test.grpc == codes.Aborted {
					if p.name == "grpc" && !strings.Contains(err.Error(), "not you at all") {
						t.Errorf("grpc: the message is %v", err)
					}
					if p.name == "http" && !slices.Equal(got.Response["X-Why"], []string{"because"}) {
						t.Errorf("http: the header is %v", got.Response)
					}
				}
				test.server.wait(t)
			}
		})
	}
	t.Run("the caller gives up", func(t *testing.T) {
		for _, p := range protocols {
			asked := make(chan struct{}, 1)
			server := &processor{answer: func(*servicev3.ProcessingRequest) []*servicev3.ProcessingResponse {
				asked <- struct{}{}
				return nil
			}}
			_, at := server.serve(t)
			m := newMesh(t, processing(p.service("back", echoBackend(t, p)), levels("", "", "", ""), at, inNoHurry, "failureModeAllow: true"), mesh.WithFilter(extproc.Kind()))
			ctx, cancel := context.WithCancel(context.Background())
			call, failed := p.client(t, m, "front"), make(chan error)
			go func() {
				_, err := call(ctx, request{})
				failed <- err
			}()
			receive(t, "the call's question", asked)
			cancel()
			if err := receive(t, "the call's end", failed); !errors.Is(err, context.Canceled) && status.Code(err) != codes.Canceled {
				t.Errorf("%s: the call ended with %v", p.name, err)
			}
			server.wait(t)
		}
	})
}

// TestExternalProcessingRefused has configurations refused, with the field that is bad.
func TestExternalProcessingRefused(t *testing.T) {
	at := processorAt("127.0.0.1:1")
	for want, fields := range map[string]string{
		"grpc_service: must be set":                                 "failureModeAllow: true",
		"grpc_service.envoy_grpc: not supported":                    "grpcService: {envoyGrpc: {clusterName: back}}",
		"grpc_service.google_grpc.channel_credentials_plugin: must": "grpcService: {googleGrpc: {targetUri: a, statPrefix: p}}",
		`grpc_service.google_grpc.target_uri: "xds:///a"`:           processorAt("xds:///a"),
		"http_service: not supported":                               "httpService: {httpService: {}}",
		"processing_mode.request_trailer_mode: must be SEND":        at + ", processingMode: {requestBodyMode: FULL_DUPLEX_STREAMED}",
		"processing_mode.response_trailer_mode: must be SEND":       at + ", processingMode: {responseBodyMode: FULL_DUPLEX_STREAMED}",
		"mutation_rules.allow_expression.regex: ":                   at + `, mutationRules: {allowExpression: {regex: "("}}`,
		"status_on_error.code: 100":                                 at + ", statusOnError: {code: 100}",
	} {
		_, err := mesh.New(mesh.WithFilter(extproc.Kind()), mesh.WithPolicy([]byte(processing("  back: {endpoints: [127.0.0.1:1]}\n", levels("", "", "", ""), fields))))
		if err == nil || !strings.Contains(err.Error(), "http_filters[0].typed_config: "+want) {
			t.Errorf("%s: got %v, want %s", fields, err, want)
		}
	}
}

// TestGRPCServiceAllowed has a control plane name a service, which it may only if it is
// trusted, or if the bootstrap has the service (gRFC A102).
func TestGRPCServiceAllowed(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p protocol) {
		server := marking(nil)
		b, at := server.serve(t)
		cp := meshtest.NewControlPlane(t)
		cp.Apply(processing(p.service("back", echoBackend(t, p)), levels("", "", "", ""), at, inNoHurry))
		for _, test := range []struct {
			features, allowed string
			ok                bool
		}{
			{``, ``, false},
			{`"trusted_xds_server"`, ``, true},
			{``, b.Addr, true},
			{``, "127.0.0.1:1", false},
		} {
			services := ``
			if test.allowed != "" {
				services = fmt.Sprintf(`"allowed_grpc_services": {%q: {"channel_creds": [{"type": "insecure"}]}},`, test.allowed)
			}
			m := meshtest.New(t, mesh.WithFilter(extproc.Kind()), mesh.WithBootstrap(fmt.Appendf(nil, `{"node": {"id": "test"}, %s "xds_servers": [
				{"server_uri": %q, "channel_creds": [{"type": "insecure"}], "server_features": [%s]}]}`, services, cp.Addr, test.features)))
			got, err := echo(t, m, p, "front", "/s.A/b", nil)
			switch {
			case test.ok && (err != nil || !slices.Equal(got.Header["x-mark"], []string{"request"})):
				t.Errorf("%+v: the backend got %v, %v", test, got.Header, err)
			case !test.ok && (err == nil || !strings.Contains(err.Error(), "is not allowed")):
				t.Errorf("%+v: the call ended with %v", test, err)
			}
		}
	})
}
