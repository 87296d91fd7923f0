package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/weft-mesh/weft/internal/testleak"
	"github.com/weft-mesh/weft/xdsserver/policy"
)

func TestMain(m *testing.M) { testleak.Main(m) }

const (
	onePort   = "services:\n  orders:\n    protocol: grpc\n    endpoints: [127.0.0.1:9001]\n"
	twoPorts  = "services:\n  orders:\n    protocol: grpc\n    endpoints: [127.0.0.1:9001, 127.0.0.1:9002]\n"
	misspelt  = "services:\n  orders:\n    protocl: grpc\n    endpoints: [127.0.0.1:9001]\n"
	complaint = `:3:5: unknown field "protocl" (did you mean "protocol"?)`
)

func policyFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "policy.yaml")
	write(t, path, content)
	return path
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// command runs a command line to its end.
func command(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestValidate(t *testing.T) {
	good, bad := policyFile(t, onePort), policyFile(t, misspelt)
	code, stdout, _ := command(t, "validate", good)
	if code != 0 || !strings.Contains(stdout, good+": ok: 1 listeners, 1 routes, 1 clusters, 1 endpoint sets") {
		t.Errorf("a good policy: exit %d, %q", code, stdout)
	}
	code, stdout, stderr := command(t, "validate", bad, good, filepath.Join(t.TempDir(), "none"))
	if code != 1 {
		t.Errorf("a bad policy among good ones: exit %d", code)
	}
	if stderr := strings.Split(stderr, "\n"); stderr[0] != bad+complaint {
		t.Errorf("told %q, want %q", stderr[0], bad+complaint)
	}
	if !strings.Contains(stderr, "no such file") || !strings.Contains(stdout, good+": ok") {
		t.Errorf("every policy has to be told of:\n%s%s", stdout, stderr)
	}
}

func TestSchema(t *testing.T) {
	code, stdout, _ := command(t, "schema")
	if code != 0 || !json.Valid([]byte(stdout)) {
		t.Errorf("exit %d, %q", code, stdout)
	}
}

func TestUsageErrors(t *testing.T) {
	for _, args := range [][]string{{"serve"}, {"validate"}, {"schema", "x"}, {"sreve"}, {"serve", "--policy"}} {
		if code, _, stderr := command(t, args...); code != 1 || !strings.HasPrefix(stderr, "xdsserver: ") {
			t.Errorf("%q: exit %d, %q", args, code, stderr)
		}
	}
}

func TestServeRefusesToStart(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	bad := policyFile(t, misspelt)
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"bad policy":    {[]string{"--policy", bad}, bad + complaint + "\n"},
		"no policy":     {[]string{"--policy", bad + "x"}, "no such file"},
		"address taken": {[]string{"--policy", policyFile(t, onePort), "--listen", taken.Addr().String()}, "address already in use"},
	} {
		t.Run(name, func(t *testing.T) {
			code, _, stderr := command(t, append([]string{"serve"}, test.args...)...)
			if code != 1 || !strings.Contains(stderr, test.want) {
				t.Errorf("exit %d, %q, want %q", code, stderr, test.want)
			}
		})
	}
}

// lines hands out what a server logs.
type lines struct {
	t    *testing.T
	scan *bufio.Scanner
}

// until returns the next line that contains text.
func (l lines) until(text string) string {
	l.t.Helper()
	for l.scan.Scan() {
		if strings.Contains(l.scan.Text(), text) {
			return l.scan.Text()
		}
	}
	l.t.Fatalf("the log ended without %q", text)
	return ""
}

var addressPattern = regexp.MustCompile(`address=(127\.0\.0\.1:[1-9][0-9]*)`)

// subscribe opens a stream to the server that log tells of, and asks for orders' endpoints.
func subscribe(t *testing.T, log lines) (grpc.BidiStreamingClient[discovery.DeltaDiscoveryRequest, discovery.DeltaDiscoveryResponse], func()) {
	t.Helper()
	found := addressPattern.FindStringSubmatch(log.until("serving xDS"))
	if found == nil {
		t.Fatal("the log does not tell the address")
	}
	cc, err := grpc.NewClient(found[1], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute) // only reached by a failure
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(cc).DeltaAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&discovery.DeltaDiscoveryRequest{TypeUrl: policy.EndpointType, ResourceNamesSubscribe: []string{"orders"}}); err != nil {
		t.Fatal(err)
	}
	return stream, func() { cancel(); _ = cc.Close() }
}

func ports(t *testing.T, resp *discovery.DeltaDiscoveryResponse, err error) int {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(resp.String(), "127.0.0.1")
}

func TestServeFollowsTheFile(t *testing.T) {
	path := policyFile(t, onePort)
	ctx, cancel := context.WithCancel(t.Context())
	read, stderr := io.Pipe()
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, []string{"serve", "--policy", path, "--listen", "127.0.0.1:0"}, io.Discard, stderr)
		_ = stderr.Close()
	}()
	log := lines{t, bufio.NewScanner(read)}
	stream, hangUp := subscribe(t, log)
	defer hangUp()
	resp, err := stream.Recv()
	if got := ports(t, resp, err); got != 1 {
		t.Errorf("%d endpoints at the start, want 1", got)
	}

	write(t, path, misspelt)
	if line := log.until("policy refused"); !strings.Contains(line, ":3:5: unknown field") {
		t.Errorf("a bad edit is logged as %q", line)
	}
	write(t, path, twoPorts)
	log.until("policy applied")
	resp, err = stream.Recv()
	if got := ports(t, resp, err); got != 2 {
		t.Errorf("%d endpoints after a bad and a good edit, want 2", got)
	}

	cancel()
	log.until("stopped")
	go func() { _, _ = io.Copy(io.Discard, read) }()
	if code := <-done; code != 0 {
		t.Errorf("exit %d", code)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the stream ended with %v", err)
	}
}

// The program itself, as it is run.
func TestSignalsDrain(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "xdsserver")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			program := exec.CommandContext(t.Context(), binary, "serve", "--policy", policyFile(t, onePort), "--listen", "127.0.0.1:0")
			stderr, err := program.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := program.Start(); err != nil {
				t.Fatal(err)
			}
			log := lines{t, bufio.NewScanner(stderr)}
			stream, hangUp := subscribe(t, log)
			defer hangUp()
			if _, err := stream.Recv(); err != nil {
				t.Fatal(err)
			}
			if err := program.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
				t.Errorf("the stream ended with %v", err)
			}
			log.until("stopped")
			if err := program.Wait(); err != nil {
				t.Errorf("after %v: %v", sig, err)
			}
		})
	}
}
