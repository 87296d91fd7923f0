package testport_test

import (
	"errors"
	"net"
	"syscall"
	"testing"

	"github.com/weft-mesh/weft/internal/testport"
)

// TestHold closes a listener whose port is held: nobody answers there, and it can be
// opened again at any time.
func TestHold(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	release, err := testport.Hold(l)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	address := l.Addr().String()
	for range 3 {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		var d net.Dialer
		if c, err := d.DialContext(t.Context(), "tcp", address); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatalf("dial while it is closed: %v, %v", c, err)
		}
		for range 2000 { // of some 14,000 that are given
			other, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			if got := other.Addr().String(); got == address {
				t.Errorf("%s was given to another", got)
			}
			_ = other.Close()
		}
		if l, err = net.Listen("tcp", address); err != nil {
			t.Fatal(err)
		}
	}
	_ = l.Close()
}
