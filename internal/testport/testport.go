// Package testport keeps the port of a test's server while the server is down. Whoever
// asks for a port meanwhile may be given that one: the server then cannot come back, and
// its clients' calls are answered by a stranger.
package testport

import (
	"errors"
	"net"
	"time"
)

// Hold keeps the port of l, which serves nobody yet, until release is called: while l is
// closed connections are refused, and just those who name the port may listen there. What
// holds it is a connection over l, which its server does not see.
func Hold(l net.Listener) (release func(), err error) {
	d := net.Dialer{Timeout: time.Minute}
	there, err := d.Dial(l.Addr().Network(), l.Addr().String())
	if err != nil {
		return nil, err
	}
	for {
		here, err := l.Accept()
		if err != nil {
			return nil, errors.Join(err, there.Close())
		}
		if here.RemoteAddr().String() == there.LocalAddr().String() {
			return func() {
				_ = there.Close() // first, as who does keeps its own port for a while
				_ = here.Close()
			}, nil
		}
		_ = here.Close() // of one who looks for a server that was here before
	}
}
