package policy

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Parse reads a policy from YAML or JSON: one document, or several that make one
// policy together. The name of the file is for positions in errors. The error is
// an [Errors] with everything that is wrong.
func Parse(file string, data []byte) (*Policy, error) {
	return parse([]source{{file, data}})
}

// Load reads a policy from a file, or from all *.yaml, *.yml and *.json files of a
// folder (not of the folders in it), in the order of their names, as one policy.
// Files whose names start with a dot are passed over. An error of content is an
// [Errors]; one of the file system is as package os gives it.
func Load(path string) (*Policy, error) {
	sources, err := read(path)
	if err != nil {
		return nil, err
	}
	return parse(sources)
}

// source is a file's name and content.
type source struct {
	file string
	data []byte
}

// read reads the policy files at path.
func read(path string) ([]source, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		src, err := readFile(path)
		if err != nil {
			return nil, err
		}
		return []source{src}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var sources []source
	for _, entry := range entries { // sorted by name
		if !isPolicyFile(entry.Name()) {
			continue
		}
		src, err := readFile(filepath.Join(path, entry.Name()))
		if err != nil {
			return nil, err
		}
		sources = append(sources, src)
	}
	if len(sources) == 0 {
		return nil, &fs.PathError{Op: "load policy", Path: path, Err: errors.New("the folder has no *.yaml, *.yml or *.json file")}
	}
	return sources, nil
}

// readFile reads a regular file, as far as its size is reasonable.
func readFile(path string) (source, error) {
	f, err := os.Open(path)
	if err != nil {
		return source{}, err
	}
	defer f.Close()
	switch info, err := f.Stat(); {
	case err != nil:
		return source{}, err
	case info.IsDir():
		return source{}, &fs.PathError{Op: "load policy", Path: path, Err: errors.New("it is a folder")}
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err != nil {
		return source{}, err
	}
	return source{path, data}, nil
}

func isPolicyFile(name string) bool {
	return !strings.HasPrefix(name, ".") && slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(name))
}

// parse makes one policy of the files.
func parse(sources []source) (*Policy, error) {
	d := newDecoder()
	whole := true
	for _, src := range sources {
		d.file = src.file
		docs, syntaxErr := documents(src.file, src.data)
		for _, doc := range docs {
			d.document(doc)
		}
		if syntaxErr != nil {
			d.errs = append(d.errs, syntaxErr)
			whole = false
		}
	}
	if whole { // else what seems undefined may stand in the part that could not be read
		v := &validator{policy: d.policy, broken: d.broken, incomplete: d.incomplete}
		d.errs = append(d.errs, v.validate()...)
		if len(d.errs) == 0 && d.policy.Services == nil && d.policy.Routes == nil && d.policy.Filters == nil && d.policy.Resources == nil {
			// A file that an editor is about to fill must not stand for "no services".
			d.errs = append(d.errs, &Error{File: sources[0].file, Line: 1, Column: 1,
				Message: fmt.Sprintf("the policy says nothing: write %q if there are no services", "services: {}")})
		}
	}
	if err := d.errs.sorted(); err != nil {
		return nil, err
	}
	return d.policy, nil
}
