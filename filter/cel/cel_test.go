package cel_test

import (
	"strings"
	"testing"

	celgo "cel.dev/cel-go/cel"
	"cel.dev/expr"
	matcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	xdsv3 "github.com/cncf/xds/go/xds/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/filter/cel"
)

func registry(tb testing.TB) *filter.Registry {
	kind, err := cel.Matcher()
	if err != nil {
		tb.Fatal(err)
	}
	r, err := filter.NewRegistry(kind)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func parse(tb testing.TB, r *filter.Registry, e *xdsv3.CelExpression) (filter.Matcher, error) {
	a, err := anypb.New(&matcherv3.CelMatcher{ExprMatch: e})
	if err != nil {
		tb.Fatal(err)
	}
	p, err := r.Parse(a, filter.Place{})
	if err != nil {
		return nil, err
	}
	return p.Matcher(), nil
}

// checkedElsewhere is an expression as a control plane sends it.
func checkedElsewhere(tb testing.TB, text string) *xdsv3.CelExpression {
	env, err := celgo.NewEnv(celgo.Variable("request", celgo.MapType(celgo.StringType, celgo.DynType)))
	if err != nil {
		tb.Fatal(err)
	}
	tree, issues := env.Compile(text)
	if issues.Err() != nil {
		tb.Fatal(issues.Err())
	}
	older, err := celgo.AstToCheckedExpr(tree)
	if err != nil {
		tb.Fatal(err)
	}
	raw, err := proto.Marshal(older)
	if err != nil {
		tb.Fatal(err)
	}
	e := &expr.CheckedExpr{}
	if err := proto.Unmarshal(raw, e); err != nil {
		tb.Fatal(err)
	}
	return &xdsv3.CelExpression{CelExprChecked: e}
}

func TestMatcher(t *testing.T) {
	r := registry(t)
	request := &filter.Request{
		Header:    filter.HTTPHeader(map[string][]string{"X-User": {"ann", "bob"}, "Referer": {"here"}, "X-Bin": {"1"}}),
		Authority: "shop:80", Path: "/cart", RawQuery: "a=1", Method: "GET", Scheme: "http", Protocol: "HTTP/1.1",
	}
	for text, want := range map[string]bool{
		`request.path == "/cart?a=1" && request.url_path == "/cart"`:                              true,
		`request.host == "shop:80" && request.method == "GET" && request.query == "a=1"`:          true,
		`request.scheme == "http" && request.protocol == "HTTP/1.1"`:                              true,
		`request.headers["x-user"] == "ann,bob"`:                                                  true,
		`request["headers"]["x-user"].startsWith("ann")`:                                          true,
		`request.headers["x-none"] == ""`:                                                         false, // an error
		`has(request.referer) && request.referer == "here"`:                                       true,
		`has(request.useragent)`:                                                                  false,
		`"x-user" in request.headers && !("x-none" in request.headers)`:                           true,
		`request.url_path.matches("^/c.*t$") || false`:                                            true,
		`size(request.headers) == 3 && request.headers["x-user"].contains("bob") ? 1 > 0 : false`: true,
		`request.method in ["POST", "PUT"]`:                                                       false,
	} {
		for _, e := range []*xdsv3.CelExpression{{CelExprString: text}, checkedElsewhere(t, text)} {
			m, err := parse(t, r, e)
			if err != nil {
				t.Errorf("%s: %v", text, err)
				continue
			}
			if got := m.Matches(request); got != want {
				t.Errorf("%s is %t", text, got)
			}
		}
	}
	m, err := parse(t, r, &xdsv3.CelExpression{CelExprString: `has(request.scheme) || has(request.protocol) || "x-bin" in request.headers`})
	if err != nil {
		t.Fatal(err)
	}
	if m.Matches(&filter.Request{GRPC: true, Header: filter.OwnMetadata(map[string][]string{"x-bin": {"1"}})}) {
		t.Error("gRPC has a scheme, a protocol or a binary header")
	}
}

func TestRefused(t *testing.T) {
	r := registry(t)
	for _, test := range []struct {
		e    *xdsv3.CelExpression
		want string
	}{
		{&xdsv3.CelExpression{}, "expr_match: must have"},
		{&xdsv3.CelExpression{CelExprString: `request.path`}, "not bool"},
		{&xdsv3.CelExpression{CelExprString: `request.path ==`}, "cel_expr_string"},
		{&xdsv3.CelExpression{CelExprString: `path == ""`}, "undeclared reference"},
		{&xdsv3.CelExpression{CelExprString: strings.Repeat("!", 17<<10) + "true"}, "more than 16384"},
		{&xdsv3.CelExpression{CelExprString: `string(1) == "1"`}, "int64_to_string is not allowed"},
		{&xdsv3.CelExpression{CelExprString: `"a" + "b" == "ab"`}, "add_string is not allowed"},
		{&xdsv3.CelExpression{CelExprString: `[1] + [2] == [1, 2]`}, "add_list is not allowed"},
		{&xdsv3.CelExpression{CelExprString: `[1].all(x, x > 0)`}, "expr_match"},
		{checkedElsewhere(t, `[1].all(x, x > 0)`), "comprehensions are not allowed"},
		{&xdsv3.CelExpression{CelExprChecked: &expr.CheckedExpr{}}, "expr_match"},
	} {
		_, err := parse(t, r, test.e)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v: got %v, want %s", test.e, err, test.want)
		}
	}
}

// FuzzMatcher reads any expression, and evaluates it.
func FuzzMatcher(f *testing.F) {
	r := registry(f)
	for _, text := range []string{`request.headers["x"] == "a"`, `request.path.matches("a*")`, `has(request.id) ? size(request.headers) > 1 : true`} {
		raw, err := proto.Marshal(&matcherv3.CelMatcher{ExprMatch: checkedElsewhere(f, text)})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
		if raw, err = proto.Marshal(&matcherv3.CelMatcher{ExprMatch: &xdsv3.CelExpression{CelExprString: text}}); err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(_ *testing.T, raw []byte) {
		p, err := r.Parse(&anypb.Any{TypeUrl: "type.googleapis.com/xds.type.matcher.v3.CelMatcher", Value: raw}, filter.Place{})
		if err == nil {
			p.Matcher().Matches(&filter.Request{Path: "/a"})
		}
	})
}

func BenchmarkMatcher(b *testing.B) {
	m, err := parse(b, registry(b), &xdsv3.CelExpression{CelExprString: `request.headers["x-user"] == "ann"`})
	if err != nil {
		b.Fatal(err)
	}
	r := &filter.Request{Header: filter.HTTPHeader(map[string][]string{"X-User": {"ann"}, "Accept": {"a"}})}
	b.ReportAllocs()
	for b.Loop() {
		m.Matches(r)
	}
}
