package policy

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// FuzzParse feeds the reader and the compiler anything: they must not panic, every
// error must say where, and what is read as valid must compile to resources that
// clients take.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/*.yaml", "testdata/compile/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Add([]byte("services: &a {b: *a}\n---\n? [x]\n: <<: *a\n"))
	f.Add([]byte("routes: {a: [{to: {b: .inf}}]}\nresources: [{\"@type\": !!binary x}]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Parse("p.yaml", data)
		if err != nil {
			errs, ok := errors.AsType[Errors](err)
			if !ok || len(errs) == 0 || p != nil {
				t.Fatalf("Parse = %v, %T", p, err)
			}
			for i, err := range errs {
				if err.File != "p.yaml" || err.Line < 1 || err.Column < 1 || err.Message == "" {
					t.Errorf("error %d is incomplete: %#v", i, err)
				}
				if i > 0 && (errs[i-1].Line > err.Line || errs[i-1].Line == err.Line && errs[i-1].Column > err.Column) {
					t.Errorf("error %d is out of order: %v", i, errs)
				}
			}
			return
		}
		resources, err := p.Compile()
		if err != nil {
			t.Fatalf("what Parse takes does not compile: %v", err)
		}
		again, err := p.Compile()
		if err != nil || again.Version() != resources.Version() {
			t.Fatalf("compiled again: %v", err)
		}
		if p.Resources != nil {
			return // raw resources may name what another server has
		}
		for _, problem := range incoherences(resources) {
			t.Error(problem)
		}
	})
}
