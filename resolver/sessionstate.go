package resolver

import (
	"encoding/base64"
	"strings"
	"time"

	httpv3 "github.com/envoyproxy/go-control-plane/envoy/type/http/v3"
	"golang.org/x/net/http/httpguts"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/weft-mesh/weft/filter"
)

// sessionHeader keeps a session's place in a header, in base64
// (envoy.extensions.http.stateful_session.header.v3.HeaderBasedSessionState).
type sessionHeader struct{ name *HeaderName }

func (h *sessionHeader) read(r *filter.Request) (at sessionPlace, ok bool) {
	return textPlace(decodeBase64(r.Header.Get(h.name))), true
}

func (h *sessionHeader) write(r *filter.Response, at sessionPlace) {
	r.Header.Set(h.name, base64.StdEncoding.EncodeToString([]byte(at.address)))
}

// sessionCookie keeps a session's place in a cookie
// (envoy.extensions.http.stateful_session.cookie.v3.CookieBasedSessionState).
type sessionCookie struct {
	name, path string
	ttl        time.Duration // 0 for as long as the client runs
	attributes string        // of Set-Cookie, from the first semicolon on
}

func (c *sessionCookie) read(r *filter.Request) (at sessionPlace, ok bool) {
	if !c.covers(r.Path) {
		return at, false
	}
	value, _ := cookieValue(&Request{Headers: &r.Header}, c.name)
	if value == "" {
		return at, true
	}
	return decodeSession(value, time.Now()), true
}

// covers reports whether the cookie is for a path (RFC 6265, section 5.1.4).
func (c *sessionCookie) covers(path string) bool {
	rest, ok := strings.CutPrefix(path, c.path)
	return ok && (rest == "" || rest[0] == '/' || strings.HasSuffix(c.path, "/"))
}

var setCookieHeader = NewHeaderName("set-cookie")

func (c *sessionCookie) write(r *filter.Response, at sessionPlace) {
	r.Header.Add(setCookieHeader, c.name+`="`+encodeSession(at, c.ttl, time.Now())+`"`+c.attributes)
}

func (p *path) sessionCookie(m *httpv3.Cookie) (*sessionCookie, error) {
	if !httpguts.ValidHeaderFieldName(m.GetName()) {
		return nil, p.to("name").errorf("%q is not the name of a cookie", m.GetName())
	}
	ttl, err := p.duration("ttl", m.GetTtl())
	if err != nil {
		return nil, err
	}
	c := &sessionCookie{name: m.GetName(), path: m.GetPath(), ttl: ttl.d.Truncate(time.Second)}
	attributes := make([]cookieAttribute, len(m.GetAttributes()))
	for i, a := range m.GetAttributes() {
		attributes[i] = a
	}
	if c.attributes, err = p.cookieAttributes(ttl.d, c.path, attributes); err != nil {
		return nil, err
	}
	return c, nil
}

// encodeSession is the value of a session's cookie. HTTP's is Envoy's message
// envoy.Cookie, {address: 1, expires: 2}. gRPC's is text, "ip:port;cluster:name" (gRFC
// A60).
//
// Envoy says when a cookie expires by a clock that begins with its machine. Here it is
// Unix time, which to Envoy is never: the browser minds the cookie's Max-Age anyway.
func encodeSession(at sessionPlace, ttl time.Duration, now time.Time) string {
	if at.cluster != "" {
		return base64.StdEncoding.EncodeToString([]byte(at.address + ";" + clusterPrefix + at.cluster))
	}
	m := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), at.address)
	if ttl > 0 {
		m = protowire.AppendVarint(protowire.AppendTag(m, 2, protowire.VarintType), uint64(now.Add(ttl).Unix()))
	}
	return base64.StdEncoding.EncodeToString(m)
}

const clusterPrefix = "cluster:"

// decodeSession reads what encodeSession, Envoy and gRPC write, whichever protocol it
// comes by. The place is empty if the value is not one, or has expired.
func decodeSession(value string, now time.Time) sessionPlace {
	raw := decodeBase64(value)
	address, expires, ok := envoyCookie(raw)
	if !ok {
		return textPlace(raw)
	}
	// What is too early for Unix time is by the clock of an Envoy, which nobody else
	// can read.
	if expires > 1<<30 && uint64(now.Unix()) > expires {
		return sessionPlace{}
	}
	return textPlace(address)
}

// envoyCookie reads an envoy.Cookie.
func envoyCookie(raw string) (address string, expires uint64, ok bool) {
	for m := []byte(raw); len(m) > 0; {
		number, kind, n := protowire.ConsumeTag(m)
		if n < 0 {
			return "", 0, false
		}
		m = m[n:]
		switch {
		case number == 1 && kind == protowire.BytesType:
			address, n = protowire.ConsumeString(m)
		case number == 2 && kind == protowire.VarintType:
			expires, n = protowire.ConsumeVarint(m)
		default:
			n = protowire.ConsumeFieldValue(number, kind, m)
		}
		if n < 0 {
			return "", 0, false
		}
		m = m[n:]
	}
	return address, expires, address != ""
}

// textPlace reads "ip:port", perhaps with ";cluster" behind it. Anything else is taken
// for an endpoint that there is not, so that a strict session fails (as in Envoy).
func textPlace(text string) sessionPlace {
	address, cluster, _ := strings.Cut(text, ";")
	if address == "" {
		return sessionPlace{}
	}
	return sessionPlace{address, strings.TrimPrefix(strings.Trim(cluster, `"`), clusterPrefix)}
}

// decodeBase64 returns nothing for what is not base64.
func decodeBase64(text string) string {
	if decoded, err := base64.StdEncoding.DecodeString(text); err == nil {
		return string(decoded)
	}
	decoded, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return ""
	}
	return string(decoded)
}
