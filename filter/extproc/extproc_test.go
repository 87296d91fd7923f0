package extproc_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	servicev3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/filter/extproc"
	"github.com/weft-mesh/weft/internal/testleak"
)

func TestMain(m *testing.M) { testleak.Main(m) }

// scripted is a service whose streams answer each event with the same.
type scripted struct{ answer *servicev3.ProcessingResponse }

func (s scripted) Service(*corev3.GrpcService) (filter.Service, error) { return s, nil }
func (s scripted) Call(context.Context, string, proto.Message, proto.Message) error {
	return errors.ErrUnsupported
}
func (s scripted) Stream(context.Context, string) (filter.Stream, error) { return s, nil }
func (s scripted) Send(proto.Message) error                              { return nil }
func (s scripted) CloseSend() error                                      { return nil }
func (s scripted) Recv(m proto.Message) error {
	proto.Merge(m, s.answer)
	return nil
}

func registry(tb testing.TB, s filter.Services) *filter.Registry {
	r, err := filter.NewRegistry(extproc.Kind())
	if err != nil {
		tb.Fatal(err)
	}
	return r.WithServices(s)
}

func parse(tb testing.TB, r *filter.Registry, m proto.Message, override bool) (*filter.Parsed, error) {
	a, err := anypb.New(m)
	if err != nil {
		tb.Fatal(err)
	}
	return r.Parse(a, filter.Place{Override: override})
}

// TestMutations has each way to change a header change one.
func TestMutations(t *testing.T) {
	type option = corev3.HeaderValueOption
	h := func(key, value string) *corev3.HeaderValue {
		return &corev3.HeaderValue{Key: key, RawValue: []byte(value)}
	}
	const (
		add       = corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD
		ifAbsent  = corev3.HeaderValueOption_ADD_IF_ABSENT
		overwrite = corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD
		ifExists  = corev3.HeaderValueOption_OVERWRITE_IF_EXISTS
	)
	for _, test := range []struct {
		name string
		set  *option
		want string // the values of x-a and of x-b
	}{
		{"append", &option{Header: h("X-A", "2"), AppendAction: add}, "1,2|"},
		{"append to nothing", &option{Header: h("x-b", "2"), AppendAction: add}, "1|2"},
		{"if absent", &option{Header: h("x-a", "2"), AppendAction: ifAbsent}, "1|"},
		{"if absent, and it is", &option{Header: h("x-b", "2"), AppendAction: ifAbsent}, "1|2"},
		{"overwrite", &option{Header: h("x-a", "2"), AppendAction: overwrite}, "2|"},
		{"overwrite nothing", &option{Header: h("x-b", "2"), AppendAction: overwrite}, "1|2"},
		{"if it exists", &option{Header: h("x-a", "2"), AppendAction: ifExists}, "2|"},
		{"if it exists, and it does not", &option{Header: h("x-b", "2"), AppendAction: ifExists}, "1|"},
		{"deprecated append", &option{Header: h("x-a", "2"), Append: wrapperspb.Bool(true)}, "1,2|"},   //nolint:staticcheck // control planes still send it
		{"deprecated overwrite", &option{Header: h("x-a", "2"), Append: wrapperspb.Bool(false)}, "2|"}, //nolint:staticcheck // control planes still send it
		{"value", &option{Header: &corev3.HeaderValue{Key: "x-a", Value: "2"}, AppendAction: overwrite}, "2|"},
		{"empty", &option{Header: h("x-a", ""), AppendAction: overwrite}, "|"},
		{"empty, and kept", &option{Header: h("x-b", ""), AppendAction: overwrite, KeepEmptyValue: true}, "1|''"},
		{"empty, appended", &option{Header: h("x-a", ""), AppendAction: add}, "1|"},
		{"line break", &option{Header: h("x-a", "a\r\nb: c"), AppendAction: overwrite}, "1|"},
		{"bad name", &option{Header: h("x-a\r\nx-b", "2"), AppendAction: overwrite}, "1|"},
		{"long value", &option{Header: h("x-a", strings.Repeat("a", 16385)), AppendAction: overwrite}, "1|"},
		{"nothing", &option{}, "1|"},
		{"unknown action", &option{Header: h("x-a", "2"), AppendAction: 77}, "1|"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := build(t, scripted{&servicev3.ProcessingResponse{Response: &servicev3.ProcessingResponse_RequestHeaders{RequestHeaders: &servicev3.HeadersResponse{
				Response: &servicev3.CommonResponse{HeaderMutation: &servicev3.HeaderMutation{SetHeaders: []*option{test.set}}},
			}}}})
			given := map[string][]string{"X-A": {"1"}, "Host": {"h"}}
			r := &filter.Request{Header: filter.HTTPHeader(given)}
			if _, err := f.Request(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			values := func(name string) string {
				v := r.Header.Values(filter.NewHeaderName(name))
				if len(v) == 1 && v[0] == "" {
					return "''"
				}
				return strings.Join(v, ",")
			}
			if diff := cmp.Diff(test.want, values("x-a")+"|"+values("x-b")); diff != "" || len(given["X-A"]) != 1 || given["X-A"][0] != "1" {
				t.Errorf("the header is %v of %v (-want +got):\n%s", r.Header.Map(), given, diff)
			}
		})
	}
}

// build is the filter of a route whose server is s, for requests only.
func build(tb testing.TB, s scripted) filter.Filter {
	p, err := parse(tb, registry(tb, s), &extprocv3.ExternalProcessor{
		GrpcService: &corev3.GrpcService{}, MessageTimeout: durationpb.New(60e9),
		ProcessingMode: &extprocv3.ProcessingMode{ResponseHeaderMode: extprocv3.ProcessingMode_SKIP},
	}, false)
	if err != nil {
		tb.Fatal(err)
	}
	f, err := p.New(nil)
	if err != nil {
		tb.Fatal(err)
	}
	return f
}

// TestRefused has bad configurations be errors that name the field.
func TestRefused(t *testing.T) {
	service := &corev3.GrpcService{}
	for want, m := range map[string]proto.Message{
		"message_timeout: must be":      &extprocv3.ExternalProcessor{GrpcService: service, MessageTimeout: durationpb.New(2 * 3600e9)},
		"max_message_timeout: must":     &extprocv3.ExternalProcessor{GrpcService: service, MaxMessageTimeout: durationpb.New(-1)},
		"deferred_close_timeout: must":  &extprocv3.ExternalProcessor{GrpcService: service, DeferredCloseTimeout: &durationpb.Duration{Nanos: -7, Seconds: 7}},
		"is an override, not a filter":  &extprocv3.ExtProcPerRoute{},
		"allowed_headers.patterns[0]: ": &extprocv3.ExternalProcessor{GrpcService: service, ForwardRules: &extprocv3.HeaderForwardingRules{AllowedHeaders: &matcherv3.ListStringMatcher{Patterns: []*matcherv3.StringMatcher{{}}}}},
	} {
		if _, err := parse(t, registry(t, scripted{}), m, false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	for want, m := range map[string]proto.Message{
		"must have disabled or overrides":                        &extprocv3.ExtProcPerRoute{},
		"must be overridden by":                                  &extprocv3.ExternalProcessor{GrpcService: service},
		"overrides.processing_mode.request_body_mode: 77 is not": &extprocv3.ExtProcPerRoute{Override: &extprocv3.ExtProcPerRoute_Overrides{Overrides: &extprocv3.ExtProcOverrides{ProcessingMode: &extprocv3.ProcessingMode{RequestBodyMode: 77}}}},
	} {
		if _, err := parse(t, registry(t, scripted{}), m, true); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if _, err := parse(t, registry(t, nil), &extprocv3.ExternalProcessor{GrpcService: service}, false); !errors.Is(err, filter.ErrNoServices) {
		t.Errorf("got %v without services", err)
	}
}

// FuzzParse has any configuration, and any answer of a server, be read without a panic,
// and leave a header that can be sent.
func FuzzParse(f *testing.F) {
	seed := func(config, answer proto.Message, override bool) {
		a, _ := proto.Marshal(config)
		b, _ := proto.Marshal(answer)
		f.Add(a, b, override)
	}
	seed(&extprocv3.ExternalProcessor{GrpcService: &corev3.GrpcService{}, AllowModeOverride: true}, &servicev3.ProcessingResponse{
		ModeOverride: &extprocv3.ProcessingMode{}, Response: &servicev3.ProcessingResponse_RequestHeaders{RequestHeaders: &servicev3.HeadersResponse{
			Response: &servicev3.CommonResponse{HeaderMutation: &servicev3.HeaderMutation{RemoveHeaders: []string{"x"}, SetHeaders: []*corev3.HeaderValueOption{{Header: &corev3.HeaderValue{Key: "x", RawValue: []byte("1")}}}}},
		}}}, false)
	seed(&extprocv3.ExternalProcessor{GrpcService: &corev3.GrpcService{}}, &servicev3.ProcessingResponse{
		Response: &servicev3.ProcessingResponse_ImmediateResponse{ImmediateResponse: &servicev3.ImmediateResponse{Body: []byte("b"), GrpcStatus: &servicev3.GrpcStatus{Status: 7}}}}, false)
	seed(&extprocv3.ExtProcPerRoute{Override: &extprocv3.ExtProcPerRoute_Overrides{Overrides: &extprocv3.ExtProcOverrides{RequestAttributes: []string{"request.path"}}}}, &servicev3.ProcessingResponse{}, true)
	f.Fuzz(func(t *testing.T, config, answer []byte, override bool) {
		out := &servicev3.ProcessingResponse{}
		if proto.Unmarshal(answer, out) != nil {
			return
		}
		if out.GetResponse() == nil && out.GetOverrideMessageTimeout() != nil {
			return // more of the same until the time is up
		}
		name := "ExternalProcessor"
		if override {
			name = "ExtProcPerRoute"
		}
		r := registry(t, scripted{out})
		p, err := r.Parse(&anypb.Any{TypeUrl: "x/envoy.extensions.filters.http.ext_proc.v3." + name, Value: config}, filter.Place{Override: override})
		if err != nil {
			return
		}
		var overrides []*filter.Parsed
		if override {
			overrides = append(overrides, p)
			if p, err = parse(t, r, &extprocv3.ExternalProcessor{GrpcService: &corev3.GrpcService{}}, false); err != nil {
				t.Fatal(err)
			}
		}
		one, err := p.New(overrides)
		if err != nil || one == nil {
			return
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		request := &filter.Request{Header: filter.HTTPHeader(map[string][]string{"X": {"1"}}), Path: "/\xff", GRPC: len(answer)%2 == 0}
		follower, err := one.Request(ctx, request)
		if reply := filter.ReplyOf(err); reply != nil && (reply.HTTPStatus() < 200 || reply.HTTPStatus() > 599) {
			t.Errorf("the reply's status is %d", reply.Status)
		}
		response := &filter.Response{Request: request, Status: 200, Header: filter.HTTPHeader(nil), Trailer: filter.HTTPHeader(nil)}
		if r := filter.OfResponse(follower); r != nil {
			_ = r.Response(ctx, response)
		}
		if r := filter.OfTrailer(follower); r != nil {
			r.Trailer(response)
		}
		if follower != nil {
			follower.End(filter.Outcome{})
		}
		for _, h := range []*filter.Header{&request.Header, &response.Header, &response.Trailer} {
			for name, values := range h.All() {
				if strings.ContainsAny(name, "\r\n: ") || !strings.HasSuffix(strings.ToLower(name), "-bin") && strings.ContainsAny(strings.Join(values, ""), "\r\n\x00") {
					t.Errorf("the header %q: %q cannot be sent", name, values)
				}
			}
		}
	})
}
