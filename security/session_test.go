package security_test

import (
	"context"
	"errors"
	"testing"

	"github.com/weft-mesh/weft/internal/testca"
	"github.com/weft-mesh/weft/security"
)

func TestSessionsAreResumed(t *testing.T) {
	ca := testca.New(t, "shop")
	addr := serve(t, as(ca.SPIFFE(t, orders)))
	for keys, want := range map[int]bool{0: false, 1: true} {
		client := newClient(t, security.ClientTLSConfig{Roots: trust(ca), SessionKeys: keys})
		if _, err := connect(t, client, addr, ""); err != nil {
			t.Fatal(err)
		}
		state, err := connect(t, client, addr, "")
		if err != nil {
			t.Fatal(err)
		}
		if state.DidResume != want {
			t.Errorf("with %d session keys: resumed %v", keys, state.DidResume)
		}
	}
}

// TestResumedSessionsAreVerified resumes a session for another name than the one
// that it was begun for.
func TestResumedSessionsAreVerified(t *testing.T) {
	ca := systemCA(t)
	addr := serve(t, as(ca.DNS(t, "orders.shop.example")))
	client := newClient(t, security.ClientTLSConfig{SystemRoots: true, SessionKeys: 1})
	for range 2 {
		if _, err := connect(t, client, addr, "orders.shop.example"); err != nil {
			t.Fatal(err)
		}
	}
	_, err := connect(t, client, addr, "web.shop.example")
	if _, ok := errors.AsType[*security.PeerError](err); !ok {
		t.Errorf("got %v, want a PeerError", err)
	}
}

func TestSessionsEndWithTheirRoots(t *testing.T) {
	ca, other := testca.New(t, "shop"), testca.New(t, "other")
	addr := serve(t, as(ca.SPIFFE(t, orders)))
	roots := trust(ca)
	client := newClient(t, security.ClientTLSConfig{
		Roots:       rootsFunc(func(context.Context) (*security.Bundle, error) { return roots, nil }),
		SessionKeys: 1,
	})
	if _, err := connect(t, client, addr, ""); err != nil {
		t.Fatal(err)
	}
	roots = trust(ca, other)
	if state, err := connect(t, client, addr, ""); err != nil || state.DidResume {
		t.Errorf("after the roots changed: resumed %v, %v", state.DidResume, err)
	}
	roots = trust(other)
	if _, err := connect(t, client, addr, ""); err == nil {
		t.Error("connected under roots that were withdrawn")
	}
}
