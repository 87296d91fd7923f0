package policy

import (
	"bytes"
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write the golden files and the schema")

func TestSchemaIsCurrent(t *testing.T) {
	g := &schemaGenerator{docs: modelDocs(t), defs: map[string]any{}}
	root := g.structure(reflect.TypeFor[Policy]())
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "Weft policy"
	root["$defs"] = g.defs
	want, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	if *update {
		if err := os.WriteFile("schema.json", want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(Schema(), want) {
		t.Error("schema.json is not what the model says: run go generate ./xdsserver/policy")
	}
}

func TestSchemaIsTheCallersOwn(t *testing.T) {
	Schema()[0] = 'x'
	if !json.Valid(Schema()) {
		t.Error("a caller changed the schema for all")
	}
}

// TestSchemaKnowsWhatTheReaderKnows writes each field of the model, alone, and
// one that is mistyped: schema and reader must agree on which is known.
func TestSchemaKnowsWhatTheReaderKnows(t *testing.T) {
	var root map[string]any
	if err := json.Unmarshal(Schema(), &root); err != nil {
		t.Fatal(err)
	}
	structs := map[string]reflect.Type{"": reflect.TypeFor[Policy]()}
	collectStructs(reflect.TypeFor[Policy](), structs)
	for name, typ := range structs {
		def := root
		if name != "" {
			def = root["$defs"].(map[string]any)[name].(map[string]any)
			if anyOf, ok := def["anyOf"].([]any); ok {
				def = anyOf[1].(map[string]any)
			}
		}
		if def["additionalProperties"] != false {
			t.Errorf("%s: the schema allows unknown fields", typ)
		}
		got := sortedKeys(def["properties"].(map[string]any))
		want := sortedKeys(fieldsOf(typ))
		if !slices.Equal(got, want) {
			t.Errorf("%s: the schema has the fields %v, the reader %v", typ, got, want)
		}
	}
	if len(structs) < 13 {
		t.Errorf("only %d structs of the model were found", len(structs))
	}
}

func TestExamplesFitTheSchema(t *testing.T) {
	var root map[string]any
	if err := json.Unmarshal(Schema(), &root); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no examples:", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var doc any
			if err := yaml.Unmarshal(data, &doc); err != nil {
				t.Fatal(err)
			}
			for _, problem := range fits(root, root, doc, "") {
				t.Error(problem)
			}
		})
	}
	for _, bad := range []string{
		`{services: {a: {endpoint: []}}}`,
		`{services: {a: {protocol: tcp}}}`,
		`{services: {a: {endpoints: [{zone: b}]}}}`,
		`{services: {a: {connectTimeout: 5}}}`,
		`{routes: {a: [{to: 5}]}}`,
		`{routes: {a: [{to: a, match: {fraction: 1}}]}}`,
		`{resources: [{name: a}]}`,
	} {
		var doc any
		if err := yaml.Unmarshal([]byte(bad), &doc); err != nil {
			t.Fatal(err)
		}
		if len(fits(root, root, doc, "")) == 0 {
			t.Errorf("the schema takes %s", bad)
		}
	}
}

// schemaGenerator makes a JSON Schema of the model.
type schemaGenerator struct {
	docs map[string]string // of a type, or of type.Field
	defs map[string]any
}

func (g *schemaGenerator) structure(t reflect.Type) map[string]any {
	properties := map[string]any{}
	var required []string
	fields := fieldsOf(t)
	for _, name := range sortedKeys(fields) {
		field := t.Field(fields[name].index)
		if fields[name].required {
			required = append(required, name)
		}
		property := g.value(field.Type)
		doc := g.docs[t.Name()+"."+field.Name]
		property["description"] = name + strings.TrimPrefix(doc, field.Name)
		if t == reflect.TypeFor[Policy]() {
			if kind, ok := property["type"].(string); ok {
				property["type"] = []string{kind, "null"}
			} else {
				property = map[string]any{"anyOf": []any{g.value(field.Type), map[string]any{"type": "null"}}, "description": property["description"]}
			}
		}
		properties[name] = property
	}
	s := map[string]any{
		"type": "object", "properties": properties, "additionalProperties": false,
		"description": g.docs[t.Name()],
	}
	if required != nil {
		s["required"] = required
	}
	return s
}

func (g *schemaGenerator) value(t reflect.Type) map[string]any {
	zero := reflect.New(t)
	if e, ok := zero.Elem().Interface().(enum); ok {
		return map[string]any{"enum": e.values()}
	}
	switch t {
	case durationType:
		return map[string]any{"type": "string", "pattern": `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`}
	case fractionType:
		return map[string]any{"type": "string", "pattern": `^(100(\.0{1,4})?|[0-9]{1,2}(\.[0-9]{1,4})?)%$`}
	case typedType:
		return map[string]any{
			"type": "object", "required": []string{"@type"},
			"properties": map[string]any{"@type": map[string]any{"type": "string"}},
		}
	case messageType:
		return map[string]any{
			"type": "object", "required": []string{"@type"},
			"properties": map[string]any{"@type": map[string]any{"enum": sortedResourceTypes()}},
		}
	}
	var s map[string]any
	switch t.Kind() {
	case reflect.Pointer:
		return g.value(t.Elem())
	case reflect.Struct:
		if g.defs[t.Name()] == nil {
			g.defs[t.Name()] = true // a type within itself would end here
			g.defs[t.Name()] = g.withShorthand(zero, g.structure(t))
		}
		return map[string]any{"$ref": "#/$defs/" + t.Name()}
	case reflect.Map:
		s = map[string]any{"type": "object", "additionalProperties": g.value(t.Elem())}
	case reflect.Slice:
		s = map[string]any{"type": "array", "items": g.value(t.Elem())}
	case reflect.String:
		s = map[string]any{"type": "string"}
	case reflect.Bool:
		s = map[string]any{"type": "boolean"}
	case reflect.Uint32:
		s = map[string]any{"type": "integer", "minimum": 0, "maximum": math.MaxUint32}
	case reflect.Int64:
		s = map[string]any{"type": "integer"}
	case reflect.Float64:
		s = map[string]any{"type": "number", "minimum": 0}
	default:
		panic("no schema for " + t.String())
	}
	return g.withShorthand(zero, s)
}

func (g *schemaGenerator) withShorthand(zero reflect.Value, s map[string]any) map[string]any {
	if _, ok := zero.Interface().(shorthand); !ok {
		return s
	}
	return map[string]any{"anyOf": []any{map[string]any{"type": "string"}, s}}
}

func collectStructs(t reflect.Type, found map[string]reflect.Type) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Slice:
		collectStructs(t.Elem(), found)
	case reflect.Struct:
		for _, field := range fieldsOf(t) {
			elem := t.Field(field.index).Type
			for elem.Kind() == reflect.Pointer || elem.Kind() == reflect.Map || elem.Kind() == reflect.Slice {
				elem = elem.Elem()
			}
			if elem == typedType.Elem() {
				continue
			}
			if elem.Kind() == reflect.Struct && found[elem.Name()] == nil {
				found[elem.Name()] = elem
			}
			collectStructs(elem, found)
		}
	}
}

// modelDocs are the comments of the package's types and fields, each in one line.
func modelDocs(t *testing.T) map[string]string {
	docs := make(map[string]string)
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range f.Decls {
			gen, ok := decl.(*ast.GenDecl)
			if !ok || gen.Tok != token.TYPE {
				continue
			}
			spec := gen.Specs[0].(*ast.TypeSpec)
			docs[spec.Name.Name] = strings.Join(strings.Fields(gen.Doc.Text()), " ")
			structType, ok := spec.Type.(*ast.StructType)
			if !ok {
				continue
			}
			for _, field := range structType.Fields.List {
				for _, name := range field.Names {
					docs[spec.Name.Name+"."+name.Name] = strings.Join(strings.Fields(field.Doc.Text()), " ")
				}
			}
		}
	}
	return docs
}

// fits checks a document against the keywords that the schema uses.
func fits(root, s map[string]any, doc any, at string) (problems []string) {
	bad := func(what string) { problems = append(problems, at+": "+what) }
	if ref, ok := s["$ref"].(string); ok {
		def := root["$defs"].(map[string]any)[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any)
		return fits(root, def, doc, at)
	}
	if anyOf, ok := s["anyOf"].([]any); ok {
		for _, one := range anyOf {
			if problems = fits(root, one.(map[string]any), doc, at); len(problems) == 0 {
				return nil
			}
		}
		return problems
	}
	if values, ok := s["enum"].([]any); ok && !slices.Contains(values, doc) {
		bad("not one of the enum")
	}
	var kinds []any
	switch kind := s["type"].(type) {
	case string:
		kinds = []any{kind}
	case []any:
		kinds = kind
	}
	if kinds != nil && !slices.Contains(kinds, any(kindOf(doc))) {
		bad("is of type " + kindOf(doc))
		return problems
	}
	switch doc := doc.(type) {
	case string:
		if pattern, ok := s["pattern"].(string); ok && !regexp.MustCompile(pattern).MatchString(doc) {
			bad("does not match the pattern")
		}
	case int:
		if least, ok := s["minimum"].(float64); ok && float64(doc) < least {
			bad("is too small")
		}
	case []any:
		for _, item := range doc {
			problems = append(problems, fits(root, s["items"].(map[string]any), item, at+"[]")...)
		}
	case map[string]any:
		properties, _ := s["properties"].(map[string]any)
		required, _ := s["required"].([]any)
		for _, name := range required {
			if _, ok := doc[name.(string)]; !ok {
				bad("lacks " + name.(string))
			}
		}
		for name, value := range doc {
			property, ok := properties[name].(map[string]any)
			if !ok {
				if property, ok = s["additionalProperties"].(map[string]any); !ok {
					if s["additionalProperties"] == false {
						bad("has the unknown field " + name)
					}
					continue
				}
			}
			problems = append(problems, fits(root, property, value, at+"."+name)...)
		}
	}
	return problems
}

func kindOf(doc any) string {
	switch doc.(type) {
	case nil:
		return "null"
	case string:
		return "string"
	case bool:
		return "boolean"
	case int:
		return "integer"
	case float64:
		return "number"
	case []any:
		return "array"
	default:
		return "object"
	}
}
