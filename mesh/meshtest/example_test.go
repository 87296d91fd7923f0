package meshtest_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/weft-mesh/weft/internal/testleak"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

func TestMain(m *testing.M) { testleak.Main(m) }

// TestCheckout stands for a test of a user's own code, which calls a service "shop"
// through the mesh.
func TestCheckout(t *testing.T) {
	cp := meshtest.NewControlPlane(t)
	shop := meshtest.HTTP(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "paid")
	}))
	cp.Apply(`services: {shop: {endpoints: ["` + shop.Addr + `"]}}`)
	client := cp.Mesh().HTTPClient()

	checkout := func(ctx context.Context) (int, string, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://shop/checkout", nil)
		if err != nil {
			return 0, "", err
		}
		resp, err := client.Do(req)
		if err != nil {
			return 0, "", err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body), err
	}
	if _, body, err := checkout(t.Context()); err != nil || body != "paid" {
		t.Errorf("checkout: %q, %v", body, err)
	}

	shop.SetFailing(true)
	if status, _, err := checkout(t.Context()); err != nil || status != http.StatusServiceUnavailable {
		t.Errorf("checkout at a shop that fails: %d, %v", status, err)
	}
	shop.SetFailing(false)

	shop.SetDelay(time.Hour)
	ctx, giveUp := context.WithCancel(t.Context())
	go func() {
		_ = shop.AwaitCalls(ctx, 3)
		giveUp()
	}()
	if _, _, err := checkout(ctx); err == nil {
		t.Error("checkout at a shop that hangs succeeded")
	}
	shop.SetDelay(0)

	cp.Kill() // nobody notices
	if _, body, err := checkout(t.Context()); err != nil || body != "paid" {
		t.Errorf("checkout without a control plane: %q, %v", body, err)
	}

	shop.Kill()
	if _, _, err := checkout(t.Context()); err == nil {
		t.Error("checkout at a dead shop succeeded")
	}
	if got := shop.Calls(); got != 4 {
		t.Errorf("the shop was called %d times, want 4", got)
	}
}
