// Package format reads Envoy's substitution format strings
// (https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage#command-operators)
// as far as policy uses them outside of logs: in the values of headers, in paths and hosts.
package format

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Part is a piece of a format string: literal text, or else a command.
type Part struct {
	// Text is the literal text, with %% read as %. Only if Command is empty.
	Text string
	// Command is the operator's name, as in %Command(Arg):Max%.
	Command string
	// Arg is what stands in its parentheses; may be empty.
	Arg string
	// Max is the longest value in bytes; 0 is no limit.
	Max int
}

// String is the part as it is written.
func (p Part) String() string {
	if p.Command == "" {
		return strings.ReplaceAll(p.Text, "%", "%%")
	}
	s := "%" + p.Command
	if p.Arg != "" {
		s += "(" + p.Arg + ")"
	}
	if p.Max > 0 {
		s += ":" + strconv.Itoa(p.Max)
	}
	return s + "%"
}

var command = regexp.MustCompile(`^%([A-Z0-9_]+)(?:\(([^)]*)\))?(?::([0-9]{1,9}))?%`)

// Parse splits a format string. Neighbouring literals are one part, and no part is
// an empty literal.
func Parse(s string) ([]Part, error) {
	var parts []Part
	var text strings.Builder
	flush := func() {
		if text.Len() > 0 {
			parts = append(parts, Part{Text: text.String()})
			text.Reset()
		}
	}
	for i := 0; i < len(s); {
		switch {
		case s[i] != '%':
			end := strings.IndexByte(s[i:], '%')
			if end < 0 {
				end = len(s) - i
			}
			text.WriteString(s[i : i+end])
			i += end
		case strings.HasPrefix(s[i:], "%%"):
			text.WriteByte('%')
			i += 2
		default:
			m := command.FindStringSubmatch(s[i:])
			if m == nil {
				return nil, fmt.Errorf("bad format %q: the %% at byte %d begins no %%COMMAND%%; a percent sign is written %%%%", s, i)
			}
			flush()
			limit, _ := strconv.Atoi(m[3]) // empty is 0
			parts = append(parts, Part{Command: m[1], Arg: m[2], Max: limit})
			i += len(m[0])
		}
	}
	flush()
	return parts, nil
}
