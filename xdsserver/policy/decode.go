package policy

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// decoder reads YAML nodes into the model, strictly, and remembers where each
// part stood. It goes on after an error, so that all of them are found at once.
type decoder struct {
	policy *Policy
	file   string
	errs   Errors

	// What the validator need not complain about again: parts that could not be
	// read, and parts around an error of any kind.
	broken, incomplete map[path]bool

	fields map[reflect.Type]map[string]field // of the types met

	depth     int                 // of nested values
	copies    int                 // values read behind aliases
	expanding map[*yaml.Node]bool // aliased values that are being read
}

func newDecoder() *decoder {
	return &decoder{
		policy:     &Policy{positions: make(positions)},
		broken:     make(map[path]bool),
		incomplete: make(map[path]bool),
		expanding:  make(map[*yaml.Node]bool),
		fields:     make(map[reflect.Type]map[string]field),
	}
}

const (
	// maxDepth bounds nested values. The model nests 7 deep, raw resources as deep as Envoy's.
	maxDepth = 100
	// maxCopies bounds the values behind aliases, counted each time: a few short
	// lines could otherwise stand for billions.
	maxCopies = 250_000
)

var (
	messageType  = reflect.TypeFor[proto.Message]()
	durationType = reflect.TypeFor[time.Duration]()
	fractionType = reflect.TypeFor[Fraction]()
	typedType    = reflect.TypeFor[*anypb.Any]()
)

// shorthand is a part of the model that may be written as plain text.
type shorthand interface{ fromText(string) }

func (e *Endpoint) fromText(s string)     { e.Address = s }
func (d *Destinations) fromText(s string) { *d = Destinations{s: 1} }

// notYet are the fields that the format has a place for and nothing stands
// behind yet. To ignore one would be to promise what does not happen.
var notYet = map[reflect.Type][]string{
	reflect.TypeFor[Policy]():   {"identity", "authorization"},
	reflect.TypeFor[Discover](): {"srv", "file"},
}

// document reads one document into the policy.
func (d *decoder) document(n *yaml.Node) {
	if _, ok := d.policy.positions[""]; !ok {
		start := Position{d.file, 1, 1}
		d.policy.positions[""] = place{start, start}
	}
	if n.Kind == yaml.DocumentNode && len(n.Content) == 1 && !isNull(n.Content[0]) {
		d.value(n.Content[0], "", reflect.ValueOf(d.policy).Elem())
	}
}

// value reads a node into v, whatever v's type is.
func (d *decoder) value(n *yaml.Node, p path, v reflect.Value) {
	n, leave, ok := d.enter(n, p)
	if !ok {
		return
	}
	defer leave()

	if text, ok := v.Addr().Interface().(shorthand); ok && n.Kind == yaml.ScalarNode && !isNull(n) {
		if s, ok := d.text(n, p); ok {
			text.fromText(s)
		}
		return
	}
	switch v.Type() {
	case messageType:
		if m := d.message(n, p); m != nil {
			v.Set(reflect.ValueOf(m))
		}
		return
	case typedType:
		if a := d.typed(n, p); a != nil {
			v.Set(reflect.ValueOf(a))
		}
		return
	case durationType:
		d.duration(n, p, v)
		return
	case fractionType:
		d.fraction(n, p, v)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(n, p, v.Elem())
	case reflect.Struct:
		d.structure(n, p, v)
	case reflect.Map:
		d.mapping(n, p, v)
	case reflect.Slice:
		d.list(n, p, v)
	case reflect.String:
		d.string(n, p, v)
	case reflect.Bool:
		d.bool(n, p, v)
	case reflect.Uint32, reflect.Int64:
		d.integer(n, p, v)
	case reflect.Float64:
		d.number(n, p, v)
	default:
		panic("policy: the model has a field of type " + v.Type().String() + ", which nothing reads")
	}
}

// enter follows an alias and keeps the bounds. leave is to be called when the
// node has been read.
func (d *decoder) enter(n *yaml.Node, p path) (target *yaml.Node, leave func(), ok bool) {
	if len(d.expanding) > 0 {
		d.copies++
	}
	if d.copies >= maxCopies {
		if d.copies == maxCopies {
			d.copies++ // said once
			d.errorf(n, p, "aliases stand for more than %d values", maxCopies)
		}
		return nil, nil, false
	}
	if d.depth >= maxDepth {
		d.errorf(n, p, "nested more than %d deep", maxDepth)
		return nil, nil, false
	}
	target = n
	if n.Kind == yaml.AliasNode {
		target = n.Alias
		if d.expanding[target] {
			d.errorf(n, p, "alias *%s stands within the value that it names", n.Value)
			return nil, nil, false
		}
		d.expanding[target] = true
	}
	d.depth++
	return target, func() {
		d.depth--
		if target != n {
			delete(d.expanding, target)
		}
	}, true
}

// structure reads a mapping whose names are the fields of v.
func (d *decoder) structure(n *yaml.Node, p path, v reflect.Value) {
	if d.fields[v.Type()] == nil {
		d.fields[v.Type()] = fieldsOf(v.Type())
	}
	fields := d.fields[v.Type()]
	seen := make(map[string]*yaml.Node)
	for key, value := range d.entries(n, p, wantMapping(v)) {
		name := key.Value
		field, known := fields[name]
		switch {
		case known && seen[name] != nil:
			d.nameErrorf(key, p.field(name), "field %q is given twice, first at %s", name, d.at(seen[name]))
			continue
		case known:
		case slices.Contains(notYet[v.Type()], name):
			d.nameErrorf(key, p.field(name), "%q is not supported yet", name)
			continue
		default:
			d.unknownField(key, p.field(name), fields)
			continue
		}
		seen[name] = key
		if p == "" && v.Field(field.index).Kind() == reflect.String && !v.Field(field.index).IsZero() {
			d.nameErrorf(key, p.field(name), "field %q is given twice, first at %s", name, d.policy.positions[p.field(name)].key)
			continue
		}
		if p == "" && isNull(value) { // a section whose entries are all commented out
			continue
		}
		d.remember(p.field(name), key, value)
		d.value(value, p.field(name), v.Field(field.index))
	}
	for _, name := range sortedKeys(fields) {
		if fields[name].required && seen[name] == nil && n.Kind == yaml.MappingNode {
			d.nameErrorf(n, p.field(name), "field %q is missing", name)
		}
	}
}

// mapping reads a mapping whose names are the user's into the map v. An entry that
// is there already, from this document or another, is an error.
func (d *decoder) mapping(n *yaml.Node, p path, v reflect.Value) {
	if v.IsNil() {
		v.Set(reflect.MakeMap(v.Type()))
	}
	for key, value := range d.entries(n, p, wantMapping(v)) {
		at, name := p.field(key.Value), reflect.ValueOf(key.Value)
		if v.MapIndex(name).IsValid() {
			d.nameErrorf(key, at, "%s %q is defined twice, first at %s", entryOf(p), key.Value, d.policy.positions[at].key)
			continue
		}
		d.remember(at, key, value)
		entry := reflect.New(v.Type().Elem()).Elem()
		d.value(value, at, entry)
		if entry.Kind() == reflect.Pointer && entry.IsNil() { // it could not be read; its name is still known
			entry.Set(reflect.New(entry.Type().Elem()))
		}
		v.SetMapIndex(name, entry)
	}
}

// list reads a sequence. Elements are appended to those of earlier documents,
// which only the raw resources can have.
func (d *decoder) list(n *yaml.Node, p path, v reflect.Value) {
	if n.Kind != yaml.SequenceNode || n.ShortTag() != "!!seq" {
		d.wrongType(n, p, "a list")
		return
	}
	if v.IsNil() {
		v.Set(reflect.MakeSlice(v.Type(), 0, len(n.Content)))
	}
	for _, item := range n.Content {
		at := p.index(v.Len())
		d.remember(at, item, item)
		element := reflect.New(v.Type().Elem()).Elem()
		d.value(item, at, element)
		if element.Kind() == reflect.Pointer && element.IsNil() {
			element.Set(reflect.New(element.Type().Elem()))
		}
		v.Set(reflect.Append(v, element))
	}
}

// entries are the names and values of a mapping node.
func (d *decoder) entries(n *yaml.Node, p path, want string) func(yield func(key, value *yaml.Node) bool) {
	return func(yield func(key, value *yaml.Node) bool) {
		if n.Kind != yaml.MappingNode || n.ShortTag() != "!!map" {
			d.wrongType(n, p, want)
			return
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			switch {
			case key.Kind == yaml.ScalarNode && key.ShortTag() == "!!merge":
				d.nameErrorf(key, p, `merge keys ("<<") are not supported: repeat the fields, or use an alias for a whole value`)
			case key.Kind != yaml.ScalarNode || isNull(key):
				d.nameErrorf(key, p, "a name must be plain text, not %s", describe(key))
			default:
				if !yield(key, n.Content[i+1]) {
					return
				}
			}
		}
	}
}

func wantMapping(v reflect.Value) string {
	if _, ok := v.Addr().Interface().(shorthand); ok {
		return "text or a mapping"
	}
	return "a mapping"
}

// unknownField reports a field that there is not: with the one that may be meant, or all
// that there are.
func (d *decoder) unknownField(key *yaml.Node, p path, fields map[string]field) {
	err := d.nameErrorf(key, p, "unknown field %q", shorten(key.Value))
	if err.Suggestion = cmp.Or(nearest(key.Value, maps.Keys(fields)), begun(key.Value, maps.Keys(fields))); err.Suggestion == "" {
		names := slices.SortedFunc(maps.Keys(fields), func(a, b string) int { return cmp.Compare(fields[a].index, fields[b].index) })
		err.Message += ": there are " + strings.Join(names, ", ")
	}
}

func (d *decoder) wrongType(n *yaml.Node, p path, want string) { d.suggestType(n, p, want, "") }

// suggestType also says what may be meant; nothing for "".
func (d *decoder) suggestType(n *yaml.Node, p path, want, suggestion string) {
	hint := ""
	if tag := n.ShortTag(); want == "text" && n.Kind == yaml.ScalarNode && (tag == "!!int" || tag == "!!float" || tag == "!!bool" || tag == "!!timestamp") {
		hint = "; put it in quotes if it is meant as text"
	}
	d.errorf(n, p, "want %s, not %s%s", want, describe(n), hint).Suggestion = suggestion
}

// errorf reports that the value at p cannot be read.
func (d *decoder) errorf(n *yaml.Node, p path, format string, args ...any) *Error {
	d.broken[p] = true
	return d.nameErrorf(n, p, format, args...)
}

// nameErrorf reports an error about a name, which leaves what else has that name good.
func (d *decoder) nameErrorf(n *yaml.Node, p path, format string, args ...any) *Error {
	for q := p; !d.incomplete[q]; q = q.parent() {
		d.incomplete[q] = true
	}
	err := &Error{File: d.file, Line: n.Line, Column: n.Column, Path: string(p), Message: fmt.Sprintf(format, args...)}
	d.errs = append(d.errs, err)
	return err
}

func (d *decoder) at(n *yaml.Node) Position { return Position{d.file, n.Line, n.Column} }

func (d *decoder) remember(p path, key, value *yaml.Node) {
	d.policy.positions[p] = place{d.at(key), d.at(value)}
}

// entryOf is the noun for an entry of the mapping at p.
func entryOf(p path) string {
	switch {
	case p == "services":
		return "service"
	case p == "routes":
		return "the route list"
	default:
		return "name"
	}
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// field is a field of the model that the format has a name for.
type field struct {
	index    int
	required bool
}

// fieldsOf are the fields of a struct of the model by the names of the format.
func fieldsOf(t reflect.Type) map[string]field {
	fields := make(map[string]field, t.NumField())
	for i := range t.NumField() {
		name, option, _ := strings.Cut(t.Field(i).Tag.Get("policy"), ",")
		if name != "" {
			fields[name] = field{i, option == "required"}
		}
	}
	return fields
}
