package resolver

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weft-mesh/weft/filter"
)

var sessionTime = time.Unix(1_700_000_000, 0)

// TestSessionEncoding holds the values of cookies against what protoc makes of
// envoy.Cookie, and against what Envoy and gRPC write.
func TestSessionEncoding(t *testing.T) {
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	at := sessionPlace{address: "10.0.0.1:80"}
	for _, c := range []struct {
		value string
		want  sessionPlace
	}{
		{encodeSession(at, 0, sessionTime), at},
		{encodeSession(at, time.Minute, sessionTime), at},
		{encodeSession(at, time.Minute, sessionTime.Add(-2*time.Minute)), sessionPlace{}}, // expired
		{encodeSession(sessionPlace{"[2001:db8::1]:80", "a;b"}, 0, sessionTime), sessionPlace{"[2001:db8::1]:80", "a;b"}},
		{b64("\n\v10.0.0.1:80"), at},                                     // Envoy's, without an expiry
		{b64("\n\v10.0.0.1:80\x10\x64"), at},                             // and 100 s after its machine began
		{b64("\n\v10.0.0.1:80\x1a\x01x"), at},                            // with a field of the future
		{b64("10.0.0.1:80"), at},                                         // before there was a message
		{b64("10.0.0.1:8080"), sessionPlace{address: "10.0.0.1:8080"}},   // which parses as one, of unknown fields
		{b64("10.0.0.1:80;cluster:c"), sessionPlace{"10.0.0.1:80", "c"}}, // gRPC's
		{b64(`10.0.0.1:80;"c"`), sessionPlace{"10.0.0.1:80", "c"}},
		{base64.RawStdEncoding.EncodeToString([]byte("10.0.0.1:80")), at},
		{b64("orders:80"), sessionPlace{address: "orders:80"}}, // which no endpoint has for its address
		{b64("\n\x09orders:80"), sessionPlace{address: "orders:80"}},
		{b64("\n\xff"), sessionPlace{address: "\n\xff"}},
		{b64(""), sessionPlace{}},
		{b64(";cluster:c"), sessionPlace{}},
		{"not base64", sessionPlace{}},
	} {
		if diff := cmp.Diff(c.want, decodeSession(c.value, sessionTime), cmp.AllowUnexported(sessionPlace{})); diff != "" {
			t.Errorf("%q (-want +got):\n%s", c.value, diff)
		}
	}
	if got, want := encodeSession(at, 0, sessionTime), "CgsxMC4wLjAuMTo4MA=="; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func FuzzDecodeSession(f *testing.F) {
	f.Add("CgsxMC4wLjAuMTo4MA==")
	f.Add(base64.StdEncoding.EncodeToString([]byte("10.0.0.1:80;cluster:c")))
	f.Fuzz(func(t *testing.T, value string) {
		at := decodeSession(value, sessionTime)
		if at.address == "" && at.cluster != "" {
			t.Errorf("%+v", at)
		}
		if at.address == "" {
			return
		}
		if again := decodeSession(encodeSession(at, time.Second, sessionTime), sessionTime); again.address != at.address {
			t.Errorf("%+v is %+v when written again", at, again)
		}
	})
}

// sessionFilter is the filter of a configuration and, unless it is empty, an override.
func sessionFilter(t *testing.T, config, override string) (filter.Filter, error) {
	t.Helper()
	registry, err := filter.NewRegistry(FilterKinds()...)
	if err != nil {
		t.Fatal(err)
	}
	parse := func(name, json string, at filter.Place) (*filter.Parsed, error) {
		a := new(anypb.Any)
		if err := protojson.Unmarshal([]byte(`{"@type": "type.googleapis.com/envoy.extensions.filters.http.stateful_session.v3.`+name+`", `+json+`}`), a); err != nil {
			t.Fatal(err)
		}
		return registry.Parse(a, at)
	}
	of, err := parse("StatefulSession", config, filter.Place{})
	if err != nil {
		return nil, err
	}
	if override == "" {
		return of.New(nil)
	}
	over, err := parse("StatefulSessionPerRoute", override, filter.Place{Override: true})
	if err != nil {
		return nil, err
	}
	return of.New([]*filter.Parsed{over})
}

const (
	cookieState = `"sessionState": {"name": "x", "typedConfig": {"@type": "type.googleapis.com/envoy.extensions.http.stateful_session.cookie.v3.CookieBasedSessionState",
		"cookie": {"name": "s", "path": "/shop", "ttl": "90.5s", "attributes": [{"name": "SameSite", "value": "Strict"}]}}}`
	headerState = `"sessionState": {"name": "x", "typedConfig": {"@type": "type.googleapis.com/envoy.extensions.http.stateful_session.header.v3.HeaderBasedSessionState", "name": "X-Session"}}`
)

// TestStatefulSession has requests say where their session is, and responses where it
// has gone to.
func TestStatefulSession(t *testing.T) {
	value := func(m map[string][]string) string {
		for _, list := range m {
			return list[0]
		}
		return ""
	}
	at := "10.0.0.1:80"
	proto := encodeSession(sessionPlace{address: at}, 0, sessionTime)
	text := base64.StdEncoding.EncodeToString([]byte(at))
	for _, c := range []struct {
		name, config, override string
		path                   string
		grpc                   bool
		header                 map[string][]string
		want                   filter.Host
		answers                string // the endpoint
		response               string // a header of it
	}{
		{name: "new", config: cookieState, path: "/shop/cart", answers: at, response: "s="},
		{name: "kept", config: cookieState, path: "/shop", header: map[string][]string{"Cookie": {"a=b; s=" + proto}}, want: filter.Host{Address: at}, answers: at},
		{name: "quoted", config: cookieState, path: "/shop", header: map[string][]string{"Cookie": {`s="` + proto + `"`}}, want: filter.Host{Address: at}, answers: at},
		{name: "moved", config: cookieState, path: "/shop", header: map[string][]string{"Cookie": {"s=" + proto}}, want: filter.Host{Address: at}, answers: "10.0.0.2:80", response: "s="},
		{name: "nobody answers", config: cookieState, path: "/shop", header: map[string][]string{"Cookie": {"s=" + proto}}, want: filter.Host{Address: at}},
		{name: "another path", config: cookieState, path: "/shopping", header: map[string][]string{"Cookie": {"s=" + proto}}, answers: at},
		{name: "another cookie", config: cookieState, path: "/shop", header: map[string][]string{"Cookie": {"t=" + proto}}, answers: at, response: "s="},
		{name: "nonsense", config: cookieState, path: "/shop", header: map[string][]string{"Cookie": {"s=nonsense"}}, want: filter.Host{Address: "\x9e\x89\xecz{\x1e"}, answers: at, response: "s="},
		{name: "not base64", config: cookieState, path: "/shop", header: map[string][]string{"Cookie": {"s=non sense"}}, answers: at, response: "s="},
		{name: "strict", config: cookieState + `, "strict": true, "statusOnStrictDestinationNotFound": 404`, path: "/shop", header: map[string][]string{"Cookie": {"s=" + proto}},
			want: filter.Host{Address: at, Strict: true, Missing: 404}, answers: at},
		{name: "a header, new", config: headerState, path: "/", answers: at, response: text},
		{name: "a header", config: headerState, path: "/", header: map[string][]string{"X-Session": {text}}, want: filter.Host{Address: at}, answers: at},
		{name: "overridden", config: cookieState, override: `"statefulSession": {` + headerState + `}`, path: "/", header: map[string][]string{"X-Session": {text}}, want: filter.Host{Address: at}, answers: at},
		{name: "gRPC, new", config: cookieState, grpc: true, path: "/shop", answers: at, response: "s=\"" + base64.StdEncoding.EncodeToString([]byte(at+";cluster:c"))},
		{name: "gRPC, moved to another cluster", config: cookieState, grpc: true, path: "/shop", header: map[string][]string{"cookie": {"s=" + base64.StdEncoding.EncodeToString([]byte(at+";cluster:d"))}},
			want: filter.Host{Address: at, Cluster: "d"}, answers: at, response: "s="},
	} {
		f, err := sessionFilter(t, c.config, c.override)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		r := &filter.Request{Header: filter.HTTPHeader(c.header), Path: c.path, GRPC: c.grpc}
		if c.grpc {
			r.Header = filter.OwnMetadata(c.header)
		}
		follower, err := f.Request(t.Context(), r)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if diff := cmp.Diff(c.want, r.Override); diff != "" {
			t.Errorf("%s: goes to (-want +got):\n%s", c.name, diff)
		}
		got := map[string][]string{}
		if follower != nil {
			if err := filter.OfResponse(follower).Response(t.Context(), &filter.Response{Request: r, Header: filter.OwnHTTPHeader(got), Endpoint: c.answers, Cluster: "c"}); err != nil {
				t.Fatal(err)
			}
		}
		if !strings.HasPrefix(value(got), c.response) || len(got) > 0 != (c.response != "") {
			t.Errorf("%s: the response has %v, want %q", c.name, got, c.response)
		}
		if c.name == "new" && !strings.HasSuffix(value(got), `"; Max-Age=90; Path=/shop; SameSite=Strict; HttpOnly`) {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	for _, c := range [][2]string{{cookieState, `"disabled": true`}, {`"strict": true`, ""}} {
		if f, err := sessionFilter(t, c[0], c[1]); f != nil || err != nil {
			t.Errorf("%q, overridden by %q: %v, %v", c[0], c[1], f, err)
		}
	}
}

func TestBadStatefulSessions(t *testing.T) {
	for _, c := range []struct{ config, override, want string }{
		{strings.Replace(cookieState, `"name": "s"`, `"name": ""`, 1), "", "session_state.typed_config.cookie.name: "},
		{strings.Replace(cookieState, "90.5s", "-1s", 1), "", "cookie.ttl: "},
		{strings.Replace(cookieState, "/shop", "/\\n", 1), "", "characters"},
		{strings.Replace(headerState, "X-Session", "", 1), "", "session_state.typed_config.name: "},
		{`"sessionState": {"name": "x", "typedConfig": {"@type": "type.googleapis.com/google.protobuf.Empty"}}`, "", "session_state.typed_config: "},
		{cookieState + `, "strict": true, "statusOnStrictDestinationNotFound": 99`, "", "status_on_strict_destination_not_found: 99"},
		{cookieState, `"statefulSession": {` + strings.Replace(headerState, "X-Session", "", 1) + `}`, "stateful_session.session_state.typed_config.name: "},
	} {
		if _, err := sessionFilter(t, c.config, c.override); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v does not say %q", c.config, c.override, err, c.want)
		}
	}
}
