package filter_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	xdsv3 "github.com/cncf/xds/go/xds/type/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weft-mesh/weft/filter"
)

var (
	nameA = filter.NewHeaderName("X-A")
	nameB = filter.NewHeaderName("x-b")
	agent = filter.NewHeaderName("user-agent")
)

// given is a source of metadata that counts how often it is asked.
type given struct {
	values map[string][]string
	asked  int
}

func (g *given) HeaderValues() map[string][]string {
	g.asked++
	return maps.Clone(g.values)
}

// TestHeader has one view of both protocols' headers be changed, and what it was made of
// stay as it was.
func TestHeader(t *testing.T) {
	for _, test := range []struct {
		name   string
		header func() (filter.Header, func() map[string][]string) // and what it was made of
		a, b   string                                             // keys
	}{
		{"http", func() (filter.Header, func() map[string][]string) {
			m := map[string][]string{"X-A": {"1"}, "X-C": {"3"}}
			return filter.HTTPHeader(m), func() map[string][]string { return m }
		}, "X-A", "X-B"},
		{"grpc", func() (filter.Header, func() map[string][]string) {
			g := &given{values: map[string][]string{"x-a": {"1"}, "x-c": {"3"}}}
			return filter.MetadataOf(g), func() map[string][]string { return g.values }
		}, "x-a", "x-b"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h, of := test.header()
			before := maps.Clone(of())
			if h.Get(nameA) != "1" || h.Get(nameB) != "" || h.Changed() {
				t.Errorf("read %q and %q", h.Get(nameA), h.Get(nameB))
			}
			h.Del(nameB)
			if h.Changed() {
				t.Error("removing what is not there is a change")
			}
			copied := h.Copy()
			h.Add(nameA, "2")
			h.Set(nameB, "b")
			h.DelFunc(func(name string) bool { return name == "x-c" })
			if diff := cmp.Diff(map[string][]string{test.a: {"1", "2"}, test.b: {"b"}}, maps.Collect(h.All())); diff != "" {
				t.Errorf("changed (-want +got):\n%s", diff)
			}
			copied.Add(nameA, "3")
			if got := h.Values(nameA); !slices.Equal(got, []string{"1", "2"}) {
				t.Errorf("a change of the copy made it %v", got)
			}
			if diff := cmp.Diff(before, of()); diff != "" {
				t.Errorf("what it was made of changed (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("user agent", func(t *testing.T) {
		h := filter.HTTPHeader(nil)
		h.Del(agent)
		if diff := cmp.Diff(map[string][]string{"User-Agent": nil}, h.Map()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("zero", func(t *testing.T) {
		var h filter.Header
		if h.Set(nameA, "1"); h.Get(nameA) != "1" {
			t.Error("the zero value cannot be changed")
		}
	})
	t.Run("asked once", func(t *testing.T) {
		g := &given{}
		h := filter.MetadataOf(g)
		if h.Get(nameA); h.Get(nameB) != "" || g.asked != 1 {
			t.Errorf("the source was asked %d times", g.asked)
		}
		h.Set(nameA, "1")
		if g.asked != 1 {
			t.Error("the source was asked again for a change")
		}
	})
}

// step is a filter that notes what it sees.
type step struct {
	name  string
	notes *[]string
	err   error
}

func (s *step) note(what string) { *s.notes = append(*s.notes, what+" "+s.name) }

func (s *step) Request(context.Context, *filter.Request) (filter.Follower, error) {
	s.note("request")
	return s, s.err
}

func (s *step) Response(context.Context, *filter.Response) error { s.note("response"); return nil }
func (s *step) Trailer(*filter.Response)                         { s.note("trailer") }
func (s *step) End(filter.Outcome)                               { s.note("end") }

// TestChain has responses pass in the reverse order, and those that a filter answers
// only what was passed before.
func TestChain(t *testing.T) {
	var notes []string
	stop := errors.New("stop")
	var chain filter.Chain
	for i := range 6 { // more than there is room for
		chain = append(chain, &step{name: fmt.Sprint(i), notes: &notes})
	}
	walk := func(c filter.Chain) ([]string, error) {
		notes = nil
		f, err := c.Request(t.Context(), &filter.Request{})
		if r := filter.OfResponse(f); r != nil {
			_ = r.Response(t.Context(), &filter.Response{})
		}
		if r := filter.OfTrailer(f); r != nil {
			r.Trailer(&filter.Response{})
		}
		if f != nil {
			f.End(filter.Outcome{})
		}
		return notes, err
	}
	want := func(n int) (list []string) {
		for i := range n {
			list = append(list, fmt.Sprint("request ", i))
		}
		for _, what := range []string{"response", "trailer", "end"} {
			for i := range n {
				list = append(list, fmt.Sprint(what, " ", n-1-i))
			}
		}
		return list
	}
	for n := range len(chain) + 1 {
		got, err := walk(chain[:n])
		if diff := cmp.Diff(want(n), got); diff != "" || err != nil {
			t.Errorf("%d filters: %v (-want +got):\n%s", n, err, diff)
		}
	}
	for n := range chain {
		stopped := slices.Clone(chain)
		stopped[n] = &step{name: fmt.Sprint(n), notes: &notes, err: stop}
		got, err := walk(stopped)
		if diff := cmp.Diff(want(n+1), got); diff != "" || err != stop { //nolint:errorlint // it is passed on as it is
			t.Errorf("stopped at %d: %v (-want +got):\n%s", n, err, diff)
		}
	}
	only := filter.Chain{ender{}, ender{}}
	f, _ := only.Request(t.Context(), &filter.Request{})
	if filter.OfResponse(f) != nil || filter.OfTrailer(f) != nil {
		t.Error("followers that only wait for the end are said to want the response")
	}
}

type ender struct{}

func (e ender) Request(context.Context, *filter.Request) (filter.Follower, error) { return e, nil }
func (ender) End(filter.Outcome)                                                  {}

func TestReply(t *testing.T) {
	cause := errors.New("cause")
	for _, test := range []struct {
		reply filter.Reply
		code  codes.Code
		text  string
	}{
		{filter.Reply{Status: 403, Body: "no", Err: cause}, codes.PermissionDenied, "no"},
		{filter.Reply{Status: 429}, codes.Unavailable, "policy answers 429 Too Many Requests"},
		{filter.Reply{Status: 429, Code: codes.ResourceExhausted}, codes.ResourceExhausted, "429"},
		{filter.Reply{}, codes.Unknown, "500"},
	} {
		err := fmt.Errorf("wrapped: %w", &test.reply)
		if got := status.Code(err); got != test.code || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%+v is %v, %q; want %v, %q", test.reply, got, err, test.code, test.text)
		}
		if filter.ReplyOf(err) != &test.reply || errors.Is(err, cause) != (test.reply.Err != nil) {
			t.Errorf("%+v is not found in %v", test.reply, err)
		}
	}
	if filter.ReplyOf(cause) != nil {
		t.Error("an error is taken for a reply")
	}
}

func pack(t testing.TB, typeURL, fields string) *anypb.Any {
	s := &structpb.Struct{}
	if err := s.UnmarshalJSON([]byte(fields)); err != nil {
		t.Fatal(err)
	}
	a, err := anypb.New(&xdsv3.TypedStruct{TypeUrl: typeURL, Value: s})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestOf has configurations come as messages and as TypedStructs, and as what is neither.
func TestOf(t *testing.T) {
	type config struct{ Name string }
	var built []string
	r, err := filter.NewRegistry(
		filter.Of("example.com/T", func(c config) (filter.Filter, error) {
			built = append(built, c.Name)
			return filter.Func(func(context.Context, *filter.Request) error { return errors.New(c.Name) }), nil
		}),
		filter.Of("google.protobuf.StringValue", func(v *wrapperspb.StringValue) (filter.Filter, error) {
			built = append(built, v.GetValue())
			return nil, nil
		}))
	if err != nil {
		t.Fatal(err)
	}
	message, err := anypb.New(wrapperspb.String("m"))
	if err != nil {
		t.Fatal(err)
	}
	parse := func(a *anypb.Any) *filter.Parsed {
		p, err := r.Parse(a, filter.Place{})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	if f, err := parse(message).New(nil); f != nil || err != nil {
		t.Errorf("the filter is %v, %v", f, err)
	}
	f, err := parse(pack(t, "other.example/T", `{"name": "a"}`)).New([]*filter.Parsed{parse(pack(t, "T", `{"Name": "b"}`)), parse(pack(t, "T", `{"name": "c"}`))})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Request(t.Context(), &filter.Request{}); err == nil || err.Error() != "c" {
		t.Errorf("the last override does not win: %v", err)
	}
	if _, err := parse(message).New([]*filter.Parsed{parse(pack(t, "T", `{}`))}); err == nil {
		t.Error("an override of another kind is taken")
	}
	parse(&anypb.Any{TypeUrl: "example.com/T"})
	if diff := cmp.Diff([]string{"m", "a", "b", "c", "m", "", ""}, built); diff != "" {
		t.Errorf("built (-want +got):\n%s", diff)
	}
	for _, bad := range []*anypb.Any{
		{TypeUrl: "example.com/T", Value: []byte("x")},
		{TypeUrl: "example.com/U"},
		{TypeUrl: "type.googleapis.com/xds.type.v3.TypedStruct", Value: []byte("x")},
		{TypeUrl: "type.googleapis.com/google.protobuf.StringValue", Value: []byte("x")},
		pack(t, "T", `{"nme": 7}`),
		nil,
	} {
		if _, err := r.Parse(bad, filter.Place{}); err == nil {
			t.Errorf("%v is taken", bad)
		}
	}
}

// TestChainAllocates holds calls to what a chain may cost.
func TestChainAllocates(t *testing.T) {
	set := filter.Func(func(_ context.Context, r *filter.Request) error { r.RawQuery = "x"; return nil })
	for _, test := range []struct {
		name  string
		chain filter.Chain
		most  float64
	}{
		{"none", nil, 0},
		{"three that do not follow", filter.Chain{set, set, set}, 0},
		{"one that follows", filter.Chain{set, ender{}}, 0},
		{"three that follow", filter.Chain{ender{}, ender{}, ender{}}, 1},
	} {
		r := &filter.Request{}
		got := testing.AllocsPerRun(100, func() {
			if f, _ := test.chain.Request(t.Context(), r); f != nil {
				f.End(filter.Outcome{})
			}
		})
		if got > test.most {
			t.Errorf("%s: %v allocations, want at most %v", test.name, got, test.most)
		}
	}
}

func BenchmarkChain(b *testing.B) {
	sign := filter.Func(func(_ context.Context, r *filter.Request) error { r.Header.Set(nameA, "1"); return nil })
	for _, test := range []struct {
		name  string
		chain filter.Chain
	}{{"none", nil}, {"one header", filter.Chain{sign}}, {"four headers", filter.Chain{sign, sign, sign, sign}}} {
		b.Run(test.name, func(b *testing.B) {
			b.ReportAllocs()
			header := map[string][]string{"X-User": {"ann"}}
			r := &filter.Request{}
			for b.Loop() {
				r.Header = filter.HTTPHeader(header)
				_, _ = test.chain.Request(b.Context(), r)
			}
		})
	}
}
