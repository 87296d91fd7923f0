package envoy

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
)

// binaryVar names the Envoy to compare with.
const binaryVar = "WEFT_ENVOY"

// process is an Envoy on loopback. It ends when its test does.
type process struct {
	// http is where its HTTP and gRPC callers connect, "127.0.0.1:port".
	http  string
	admin string
}

// object is JSON.
type object = map[string]any

// startEnvoy runs an Envoy that takes clusters, endpoints and the route configuration
// of its one listener from the control plane at xds.
func startEnvoy(t *testing.T, xds string, s setup) *process {
	t.Helper()
	binary := os.Getenv(binaryVar)
	if binary == "" {
		t.Skip(binaryVar + " names no Envoy to compare with; .ci/oracle installs one and runs these tests")
	}
	dir := t.TempDir()
	config, err := json.Marshal(envoyBootstrap(t, xds, s))
	if err != nil {
		t.Fatal(err)
	}
	bootstrap, address := filepath.Join(dir, "bootstrap.json"), filepath.Join(dir, "admin")
	if err := os.WriteFile(bootstrap, config, 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	cmd := exec.Command(binary, "--config-path", bootstrap, "--admin-address-path", address,
		"--concurrency", "1", "--disable-hot-restart", "--log-level", "warning")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatalf("%s=%s: %v", binaryVar, binary, err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	said := func() string {
		text, _ := os.ReadFile(log.Name())
		return string(text[max(0, len(text)-1<<14):])
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		if t.Failed() {
			t.Logf("Envoy said:\n%s", said())
		}
	})

	p := &process{}
	await(t, "Envoy to listen", func() bool {
		select {
		case <-ended:
			t.Fatalf("Envoy ended:\n%s", said())
		default:
		}
		text, _ := os.ReadFile(address)
		p.admin = strings.TrimSpace(string(text))
		return p.admin != "" && p.findListener()
	})
	return p
}

// findListener asks where the listener's port came to be.
func (p *process) findListener() bool {
	var list struct {
		Statuses []struct {
			Local struct {
				Socket struct {
					Port int `json:"port_value"`
				} `json:"socket_address"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	resp, err := http.Get("http://" + p.admin + "/listeners?format=json")
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	if json.NewDecoder(resp.Body).Decode(&list) != nil || len(list.Statuses) == 0 {
		return false
	}
	p.http = fmt.Sprintf("127.0.0.1:%d", list.Statuses[0].Local.Socket.Port)
	return true
}

// settle returns when the main thread has done what it had to do.
func (p *process) settle() {
	for range 2 {
		p.findListener()
	}
}

// envoyBootstrap has nothing of the policy that is compared; that comes by ADS.
func envoyBootstrap(t *testing.T, xds string, s setup) object {
	loopback := func(port string) object {
		return object{"socket_address": object{"address": "127.0.0.1", "port_value": json.Number(port)}}
	}
	ads := object{"ads": object{}, "resource_api_version": "V3"}
	_, port, _ := strings.Cut(xds, ":")
	const http2 = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
	var filters []json.RawMessage
	for _, f := range withRouter(t, s.filters) {
		text, err := protojson.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		filters = append(filters, text)
	}
	o := object{
		"node":  object{"id": envoyNode, "cluster": t.Name(), "locality": object{"zone": s.zone}},
		"admin": object{"address": loopback("0")},
		"dynamic_resources": object{
			"ads_config": object{
				"api_type":              "DELTA_GRPC",
				"transport_api_version": "V3",
				"grpc_services":         []object{{"envoy_grpc": object{"cluster_name": "xds"}}},
			},
			"cds_config": ads,
		},
		"static_resources": object{
			"clusters": []object{{
				"name":            "xds",
				"connect_timeout": "5s",
				"typed_extension_protocol_options": object{http2: object{
					"@type":                "type.googleapis.com/" + http2,
					"explicit_http_config": object{"http2_protocol_options": object{}},
				}},
				"load_assignment": object{"cluster_name": "xds", "endpoints": []object{
					{"lb_endpoints": []object{{"endpoint": object{"address": loopback(port)}}}},
				}},
			}},
			"listeners": []object{{
				"name":    "callers",
				"address": loopback("0"),
				"filter_chains": []object{{"filters": []object{{
					"name": "envoy.filters.network.http_connection_manager",
					"typed_config": object{
						"@type":               "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
						"stat_prefix":         "callers",
						"rds":                 object{"route_config_name": routesName, "config_source": ads},
						"generate_request_id": false,
						"local_reply_config":  tellFlags,
						"http_filters":        filters,
					},
				}}}},
			}},
		},
	}
	if s.local != "" { // which Envoy wants to know before it asks anybody
		o["cluster_manager"] = object{"local_cluster_name": s.local}
		static := o["static_resources"].(object)
		static["clusters"] = append(static["clusters"].([]object), object{
			"name": s.local, "type": "EDS", "eds_cluster_config": object{"eds_config": ads},
		})
	}
	return o
}

// flagsHeader is where Envoy's own answers say why they were given: NR is no route.
const flagsHeader = "x-oracle-flags"

var tellFlags = object{"mappers": []object{{
	"filter": object{"status_code_filter": object{"comparison": object{
		"op": "GE", "value": object{"default_value": 0, "runtime_key": "none"},
	}}},
	"headers_to_add": []object{{"header": object{"key": flagsHeader, "value": "%RESPONSE_FLAGS%"}}},
}}}

// long bounds what must not hang.
const long = time.Minute

// await polls until a condition holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(long); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited a minute for %s", what)
		}
	}
}
