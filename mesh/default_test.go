package mesh_test

import (
	"context"
	"fmt"
	"io"
	"testing"

	"github.com/weft-mesh/weft/mesh"
	"github.com/weft-mesh/weft/mesh/meshtest"
)

// TestDefault calls through the mesh of the process, which the environment describes.
func TestDefault(t *testing.T) {
	t.Setenv("GRPC_XDS_BOOTSTRAP", "")
	t.Setenv("GRPC_XDS_BOOTSTRAP_CONFIG", "")
	if _, err := mesh.Dial("orders"); err == nil {
		t.Error("Dial without a bootstrap succeeded")
	}
	if _, err := mesh.HTTPClient(); err == nil {
		t.Error("HTTPClient without a bootstrap succeeded")
	}

	cp := meshtest.NewControlPlane(t)
	cp.Apply("services:\n" + protocols[0].service("orders", grpcBackend(t, "g")) + protocols[1].service("shop", httpBackend(t, "h")))
	t.Setenv("GRPC_XDS_BOOTSTRAP_CONFIG", fmt.Sprintf(
		`{"xds_servers": [{"server_uri": %q, "channel_creds": [{"type": "insecure"}]}], "node": {"id": "test"}}`, cp.Addr))
	conn, err := mesh.Dial("xds:///orders")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got, err := invoke(within(t, long), conn, request{}); err != nil || got != "g" {
		t.Errorf("by gRPC: %q, %v", got, err)
	}
	client, err := mesh.HTTPClient()
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Get("http://shop/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got, err := io.ReadAll(resp.Body); err != nil || string(got) != "h" {
		t.Errorf("by HTTP: %q, %v", got, err)
	}
	m, err := mesh.Default()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := mesh.Default(); err != nil || again != m {
		t.Errorf("the process has two meshes: %v", err)
	}
	if err := m.Close(context.Background()); err != nil {
		t.Error(err)
	}
}
