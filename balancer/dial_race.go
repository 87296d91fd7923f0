package balancer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// attemptDelay is how long an address is given before the next is tried beside it
// (RFC 8305 section 5, gRFC A61).
const attemptDelay = 250 * time.Millisecond

// order interleaves the families of an endpoint's addresses (RFC 8305 section 4, envoy
// happy_eyeballs_config), so that where one family does not work the other is tried
// soon. Within a family the order stays.
func (c *Connection) order(addresses []string) []string {
	if len(addresses) < 2 {
		return addresses
	}
	var first, other []string
	family := c.FirstFamily
	for _, a := range addresses {
		of := familyOf(a)
		if family == AnyIP {
			family = of
		}
		if of == family {
			first = append(first, a)
		} else {
			other = append(other, a)
		}
	}
	ordered := make([]string, 0, len(addresses))
	take := func(from *[]string, n int) {
		n = min(n, len(*from))
		ordered = append(ordered, (*from)[:n]...)
		*from = (*from)[n:]
	}
	take(&first, max(1, int(c.FirstFamilyCount)))
	for len(first)+len(other) > 0 {
		take(&other, 1)
		take(&first, 1)
	}
	return ordered
}

// familyOf is IPv6 for what is not an address: a name may have either.
func familyOf(address string) IPFamily {
	if a, err := netip.ParseAddrPort(address); err == nil && a.Addr().Unmap().Is4() {
		return IPv4
	}
	return IPv6
}

// race dials the addresses in order, the next when one has failed or has not answered
// within attemptDelay, and returns the first connection. The attempts that lost are
// cancelled.
func race(ctx context.Context, addresses []string, dial func(context.Context, string) (net.Conn, error)) (net.Conn, error) {
	if len(addresses) == 1 {
		return dial(ctx, addresses[0])
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // also closes what is connected from here on
	type attempt struct {
		conn net.Conn
		err  error
	}
	attempts := make(chan attempt)
	begin := func(address string) {
		conn, err := dial(ctx, address)
		select {
		case attempts <- attempt{conn, err}:
		case <-ctx.Done():
			if conn != nil {
				conn.Close()
			}
		}
	}
	var errs []error
	next := time.NewTimer(0)
	defer next.Stop()
	for begun := 0; ; {
		select {
		case <-next.C:
			if begun < len(addresses) {
				go begin(addresses[begun])
				begun++
				next.Reset(attemptDelay)
			}
		case a := <-attempts:
			if a.err == nil {
				return a.conn, nil
			}
			if errs = append(errs, a.err); len(errs) == len(addresses) {
				return nil, fmt.Errorf("none of %d addresses answers: %w", len(addresses), errors.Join(errs...))
			}
			next.Reset(0)
		case <-ctx.Done():
			return nil, errors.Join(append(errs, ctx.Err())...)
		}
	}
}
