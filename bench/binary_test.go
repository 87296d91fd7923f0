package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestBinaryIsSmall builds, stripped, a program that dials by bare grpc-go, one that also
// links the protos that Weft decodes, and one that dials by a mesh. The mesh may add 10 MiB
// to the second: the messages are the control plane's language, whoever reads it.
//
//	go test -run Binary -v .
func TestBinaryIsSmall(t *testing.T) {
	const most = 10 << 20
	const bare = `
import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
%s)

func main() {
	conn, err := grpc.NewClient("localhost:1", grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err == nil {
		conn.Connect()
		conn.Close()
	}
}
`
	var protos strings.Builder
	list := protosOfMesh(t)
	for _, p := range list {
		fmt.Fprintf(&protos, "\t_ %q\n", p)
	}
	sizes := map[string]int64{}
	for name, source := range map[string]string{
		"bare":   fmt.Sprintf(bare, ""),
		"protos": fmt.Sprintf(bare, protos.String()),
		"mesh": `
import "github.com/weft-mesh/weft/mesh"

func main() {
	m, err := mesh.New(mesh.WithServer("localhost:1", mesh.Plaintext()))
	if err == nil {
		_, _ = m.HTTPClient().Get("http://orders/")
		conn, _ := m.Dial("orders")
		conn.Close()
	}
}
`,
	} {
		sizes[name] = stripped(t, name, "package main\n"+source)
	}
	mib := func(n int64) float64 { return float64(n) / (1 << 20) }
	t.Logf("bare grpc-go %.1f MiB; with %d packages of protos that Weft imports %.1f; a mesh %.1f: %.1f more",
		mib(sizes["bare"]), len(list), mib(sizes["protos"]), mib(sizes["mesh"]), mib(sizes["mesh"]-sizes["protos"]))
	if more := sizes["mesh"] - sizes["protos"]; more > most {
		t.Errorf("a mesh adds %.1f MiB to a binary, want at most %d", mib(more), most>>20)
	}
}

// protosOfMesh are the packages of messages that Weft's packages import, of those that a
// program with a mesh has.
func protosOfMesh(t *testing.T) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f",
		`{{if and .Module (eq .Module.Path "github.com/weft-mesh/weft")}}{{join .Imports "\n"}}{{end}}`,
		"github.com/weft-mesh/weft/mesh").Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Fields(string(out))
	lines = slices.DeleteFunc(lines, func(p string) bool {
		return !strings.HasPrefix(p, "github.com/envoyproxy/go-control-plane/") && !strings.HasPrefix(p, "github.com/cncf/xds/") &&
			!strings.HasPrefix(p, "google.golang.org/protobuf/types/")
	})
	slices.Sort(lines)
	return slices.Compact(lines)
}

// stripped is the size in bytes of a program without its symbols.
func stripped(t *testing.T, name, source string) int64 {
	t.Helper()
	dir := t.TempDir()
	file, out := filepath.Join(dir, name+".go"), filepath.Join(dir, name)
	if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, file)
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	info, err := os.Stat(out)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}
