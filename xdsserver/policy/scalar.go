package policy

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Scalars are read by their YAML type and never converted: version: 1.10 would be
// 1.1 to somebody, and port: "80" a riddle.

func (d *decoder) text(n *yaml.Node, p path) (string, bool) {
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
		d.wrongType(n, p, "text")
		return "", false
	}
	return n.Value, true
}

func (d *decoder) string(n *yaml.Node, p path, v reflect.Value) {
	s, ok := d.text(n, p)
	if !ok {
		return
	}
	if e, ok := v.Interface().(enum); ok && !slices.Contains(e.values(), s) {
		d.errorf(n, p, "%q is not one of %s", s, strings.Join(e.values(), ", ")).Suggestion = nearest(s, slices.Values(e.values()))
		return
	}
	v.SetString(s)
}

func (d *decoder) duration(n *yaml.Node, p path, v reflect.Value) {
	const want = "a duration with its unit, such as 250ms, 10s or 1m30s"
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
		d.wrongType(n, p, want)
		return
	}
	duration, err := time.ParseDuration(n.Value)
	switch {
	case err != nil:
		d.errorf(n, p, "bad duration %q: want %s", n.Value, want)
	case duration < 0:
		d.errorf(n, p, "bad duration %q: it is negative", n.Value)
	default:
		v.SetInt(int64(duration))
	}
}

func (d *decoder) fraction(n *yaml.Node, p path, v reflect.Value) {
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
		meant := ""
		if f, err := ParseFraction(n.Value + "%"); err == nil && f >= 10_000 { // below 1, it may be a share of 1
			meant = n.Value + "%"
		}
		d.suggestType(n, p, "a percentage such as 2.5%", meant)
		return
	}
	f, err := ParseFraction(n.Value)
	if err != nil {
		d.errorf(n, p, "%v", err)
		return
	}
	v.SetUint(uint64(f))
}

func (d *decoder) bool(n *yaml.Node, p path, v reflect.Value) {
	var b bool
	if n.ShortTag() != "!!bool" || n.Decode(&b) != nil {
		d.wrongType(n, p, "true or false")
		return
	}
	v.SetBool(b)
}

// number reads a float64 that is not negative.
func (d *decoder) number(n *yaml.Node, p path, v reflect.Value) {
	const want = "a number of at least 0, such as 1.5"
	var f float64
	if tag := n.ShortTag(); tag != "!!int" && tag != "!!float" || n.Decode(&f) != nil {
		d.wrongType(n, p, want)
		return
	}
	if !(f >= 0) || math.IsInf(f, 0) {
		d.errorf(n, p, "bad number %s: want %s", shorten(n.Value), want)
		return
	}
	v.SetFloat(f)
}

// integer reads a uint32 or an int64.
func (d *decoder) integer(n *yaml.Node, p path, v reflect.Value) {
	want := "a whole number"
	if v.Kind() == reflect.Uint32 {
		want = fmt.Sprintf("a whole number from 0 to %d", math.MaxUint32)
	}
	if n.ShortTag() != "!!int" || n.Decode(v.Addr().Interface()) != nil {
		d.wrongType(n, p, want)
	}
}
