package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// maxFileSize bounds one policy file, in bytes: a hundred times what 10,000
// endpoints need.
const maxFileSize = 64 << 20

// documents splits a file into its YAML documents. JSON is YAML. The documents
// before a syntax error are returned with it.
func documents(file string, data []byte) ([]*yaml.Node, *Error) {
	if len(data) > maxFileSize {
		return nil, &Error{File: file, Line: 1, Column: 1, Message: fmt.Sprintf("the file is larger than %d MiB", maxFileSize>>20)}
	}
	if line, column, ok := badUTF8(data); ok {
		return nil, &Error{File: file, Line: line, Column: column, Message: "the file is not UTF-8 text"}
	}
	lines := &lineReader{rest: data}
	docs, err := decodeAll(lines)
	if err == nil {
		return docs, nil
	}
	line, column := locate(data, lines.read, err)
	return docs, &Error{File: file, Line: line, Column: column, Message: "not valid YAML: " + reason(err)}
}

func decodeAll(r io.Reader) (docs []*yaml.Node, err error) {
	dec := yaml.NewDecoder(r)
	for {
		doc := new(yaml.Node)
		if err := dec.Decode(doc); err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return docs, err
		}
		docs = append(docs, doc)
	}
}

// lineReader gives its text line by line, so that the number of lines that the
// parser asked for tells where it stopped.
type lineReader struct {
	rest []byte
	read int // lines begun
	mid  bool
}

func (r *lineReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	if !r.mid {
		r.read++
	}
	end := bytes.IndexByte(r.rest, '\n') + 1
	if end == 0 {
		end = len(r.rest)
	}
	n := copy(p, r.rest[:end])
	r.mid = n < end
	r.rest = r.rest[n:]
	return n, nil
}

// locate finds the line and column of a syntax error. The parser's own line is
// that of the block around the error, if it gives one. The line at which the text before it
// stops being valid is where a person has to look: the last line read, or, where
// the parser read on in search of a closing quote or bracket, a line before it.
func locate(data []byte, read int, err error) (line, column int) {
	const maxBack, maxSize = 64, 1 << 20 // each step parses the text before it once more
	lines := bytes.SplitAfter(data, []byte("\n"))
	read = max(1, min(read, len(lines)))
	line = read
	for size := len(bytes.Join(lines[:read], nil)); line > 1; line-- {
		if size > maxSize || read-line > maxBack {
			line = min(read, parserLine(err))
			break
		}
		size -= len(lines[line-1])
		if _, err := decodeAll(bytes.NewReader(data[:size])); err == nil {
			break
		}
	}
	text := lines[line-1]
	indent := len(text) - len(bytes.TrimLeft(text, " \t"))
	return line, indent + 1
}

// parserLine is the line that the parser names in its error. Errors of its later
// stage are a line short, which nothing in the error tells.
func parserLine(err error) int {
	line := 1
	_, _ = fmt.Sscanf(err.Error(), "yaml: line %d:", &line)
	return max(line, 1)
}

// reason is a parser's error without its position.
func reason(err error) string {
	msg := strings.TrimPrefix(err.Error(), "yaml: ")
	if strings.HasPrefix(msg, "line ") {
		if _, rest, ok := strings.Cut(msg, ": "); ok {
			msg = rest
		}
	}
	return msg
}

// badUTF8 finds the first byte that is not UTF-8.
func badUTF8(data []byte) (line, column int, ok bool) {
	if utf8.Valid(data) {
		return 0, 0, false
	}
	good := data
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size == 1 {
			good = data[:i]
			break
		}
		i += size
	}
	last := good[bytes.LastIndexByte(good, '\n')+1:]
	return bytes.Count(good, []byte("\n")) + 1, utf8.RuneCount(last) + 1, true
}
