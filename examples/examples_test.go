// Package examples_test runs the examples that are programs of their own: servers,
// an xdsserver and clients, as their READMEs say, on free ports.
package examples_test

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// long bounds a program that hangs.
const long = time.Minute

func TestGRPC(t *testing.T) {
	testClientAndServer(t, "grpc", "127.0.0.1:9001", "order 7 comes from orders\n")
}

func TestHTTP(t *testing.T) {
	testClientAndServer(t, "http", "127.0.0.1:9101", "order 7 comes from shop\n")
}

func testClientAndServer(t *testing.T, name, planned, want string) {
	t.Parallel()
	dir := t.TempDir()
	server := build(t, dir, "./"+name+"/server")
	client := build(t, dir, "./"+name+"/client")
	xdsserver := build(t, dir, "../xdsserver/cmd/xdsserver")

	addr := start(t, `serving on (\S+)`, server, "-listen", "127.0.0.1:0")
	policy, err := os.ReadFile(filepath.Join(name, "policy.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "policy.yaml")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(policy), planned, addr)), 0o600); err != nil {
		t.Fatal(err)
	}
	control := start(t, `serving xDS.*address=(\S+)`, xdsserver, "serve", "--policy", path, "--listen", "127.0.0.1:0")

	out, err := exec.CommandContext(t.Context(), client, "-xdsserver", control).CombinedOutput()
	if err != nil || string(out) != want {
		t.Errorf("client printed %q, %v; want %q", out, err, want)
	}
}

func build(t *testing.T, dir, pkg string) string {
	t.Helper()
	program := filepath.Join(dir, strings.ReplaceAll(filepath.ToSlash(pkg), "/", "_"))
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, pkg).CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v\n%s", pkg, err, out)
	}
	return program
}

// start runs a program until the test ends, and returns what it says of itself: the
// group of the pattern.
func start(t *testing.T, pattern, program string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	found := make(chan string, 1)
	read := make(chan struct{})
	go func() {
		defer close(read)
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			if m := regexp.MustCompile(pattern).FindStringSubmatch(lines.Text()); m != nil {
				found <- m[1]
				break
			}
		}
		_, _ = io.Copy(io.Discard, stderr)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-read
		_ = cmd.Wait()
	})
	select {
	case s := <-found:
		return s
	case <-time.After(long):
		t.Fatalf("%s does not say %q", filepath.Base(program), pattern)
		return ""
	}
}
