package policy

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// write writes files into a new folder and returns it.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		writeFile(t, filepath.Join(dir, name), text)
	}
	return dir
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// minimal is a policy with one service of a name.
func minimal(name string) string { return "services: {" + name + ": {endpoints: ['127.0.0.1:1']}}\n" }

func TestLoadFolder(t *testing.T) {
	dir := write(t, map[string]string{
		"a.yaml":        minimal("a"),
		"b.yml":         "# nothing here\n",
		"c.json":        `{"services": {"c": {"endpoints": []}}, "resources": []}`,
		"d.txt":         "not a policy",
		".hidden.yaml":  "not a policy either",
		"sub/deep.yaml": minimal("deep"),
		"z.yaml":        "routes: {host: [{to: {a: 1, c: 1}}]}\n",
	})
	p, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := slices.Sorted(maps.Keys(p.Services)); !slices.Equal(got, []string{"a", "c"}) {
		t.Errorf("services are %v", got)
	}
	if len(p.Routes["host"]) != 1 {
		t.Error("the routes over the services of several files are missing")
	}
}

func TestLoadFile(t *testing.T) {
	dir := write(t, map[string]string{"a.yaml": minimal("a")})
	p, err := Load(filepath.Join(dir, "a.yaml"))
	if err != nil || p.Services["a"] == nil {
		t.Fatalf("Load = %v, %v", p, err)
	}
}

func TestLoadNamesBothPlaces(t *testing.T) {
	dir := write(t, map[string]string{"a.yaml": "\n" + minimal("x"), "b.yaml": minimal("x")})
	_, err := Load(dir)
	a, b := filepath.Join(dir, "a.yaml"), filepath.Join(dir, "b.yaml")
	want := b + `:1:12: service "x" is defined twice, first at ` + a + `:2:12`
	if err == nil || err.Error() != want {
		t.Errorf("the error is %v\nwant %s", err, want)
	}
}

// TestLoadOneBadFile: what the other files say is judged without the part that
// cannot be read, which would make their names seem undefined.
func TestLoadOneBadFile(t *testing.T) {
	dir := write(t, map[string]string{"a.yaml": "services: {a: [\n", "b.yaml": "routes: {h: [{to: a}]}\nx: 1\n"})
	_, err := Load(dir)
	errs, ok := errors.AsType[Errors](err)
	if !ok || len(errs) != 2 {
		t.Fatalf("errors are %v", err)
	}
	if errs[0].File != filepath.Join(dir, "a.yaml") || !strings.Contains(errs[1].Message, `unknown field "x"`) {
		t.Errorf("errors are %v", errs)
	}
}

func TestLoadErrors(t *testing.T) {
	if _, err := Load(filepath.Join(t.TempDir(), "none.yaml")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of a missing file: %v", err)
	}
	if _, err := Load(t.TempDir()); err == nil || !strings.Contains(err.Error(), "no *.yaml") {
		t.Errorf("of an empty folder: %v", err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "a.yaml"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "it is a folder") {
		t.Errorf("of a folder named like a file: %v", err)
	}
}
