package grpctransport_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/weft-mesh/weft/resolver/xds"
	"github.com/weft-mesh/weft/resolver/xds/grpctransport"
)

func plaintext(address string) xds.ServerConfig {
	return xds.ServerConfig{URI: address, Channel: xds.ChannelCreds{Type: xds.CredsInsecure}}
}

func TestOneStreamWhateverIsSpoken(t *testing.T) {
	for name, server := range map[string]*ads{
		"delta": {delta: true},
		"both":  {delta: true, sotw: true},
		"sotw":  {sotw: true},
	} {
		t.Run(name, func(t *testing.T) {
			address, _ := server.serve(t, "127.0.0.1:0", nil)
			c := client(t, plaintext(address), grpctransport.Builder{})
			a, b := watch(c, "a"), watch(c, "b")
			if a.value(t) != "a" || b.value(t) != "b" {
				t.Error("wrong values")
			}
			server.mu.Lock()
			defer server.mu.Unlock()
			if server.streams != 1 {
				t.Errorf("%d streams", server.streams)
			}
			got := c.ServerStatus()[0]
			if !got.Connected || got.URI != address || (got.Protocol == xds.ProtocolDelta) != server.delta {
				t.Errorf("status is %+v", got)
			}
		})
	}
}

func TestReconnectsAfterARestart(t *testing.T) {
	server := &ads{delta: true}
	address, stop := server.serve(t, "127.0.0.1:0", nil)
	c := client(t, plaintext(address), grpctransport.Builder{})
	first := watch(c, "a")
	first.value(t)
	stop()
	if err := first.failure(t); !errors.Is(err, xds.ErrUnavailable) || !strings.Contains(err.Error(), address) {
		t.Errorf("error is %v", err)
	}
	second := watch(c, "b")
	if err := second.failure(t); !errors.Is(err, xds.ErrUnavailable) || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("error is %v", err)
	}
	server.serve(t, address, nil)
	if got := second.value(t); got != "b" {
		t.Errorf("value is %s", got)
	}
}

func TestMessageSize(t *testing.T) {
	const size = 8 << 20 // twice gRPC's default
	server := &ads{delta: true, size: size}
	address, _ := server.serve(t, "127.0.0.1:0", nil)
	large := client(t, plaintext(address), grpctransport.Builder{})
	if got := watch(large, "a").value(t); len(got) != size {
		t.Errorf("value has %d bytes", len(got))
	}
	small := client(t, plaintext(address), grpctransport.Builder{MaxMessageSize: size / 2})
	if err := watch(small, "a").failure(t); !strings.Contains(err.Error(), "ResourceExhausted") {
		t.Errorf("error is %v", err)
	}
}

func TestClosedTransport(t *testing.T) {
	tr, err := grpctransport.Builder{}.Build(plaintext("127.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	tr.Close()
	tr.Close()
	if _, err := tr.NewStream(t.Context(), xds.DeltaMethod); err == nil {
		t.Error("a closed transport opens streams")
	}
}
