package balancer

import (
	"encoding/json"
	"strconv"
)

// Value is a value of an endpoint's metadata, or one that a route asks for: a
// google.protobuf.Value as canonical JSON. Two are equal, as Envoy's
// ValueUtil::equal has it, if they are the same text: the number 1 is not the
// string "1".
type Value string

// The values that JSON has a word for.
const (
	Null  Value = "null"
	True  Value = "true"
	False Value = "false"
)

// Text returns the value of a string.
func Text(s string) Value {
	text, err := json.Marshal(s)
	if err != nil { // not for a string
		return Null
	}
	return Value(text)
}

// Number returns the value of a number.
func Number(f float64) Value {
	return Value(strconv.AppendFloat(nil, f+0, 'g', -1, 64)) // + 0: there is one zero
}

// Text returns the string that v is; ok is false if it is another kind of value.
func (v Value) Text() (s string, ok bool) {
	if len(v) < 2 || v[0] != '"' {
		return "", false
	}
	return s, json.Unmarshal([]byte(v), &s) == nil
}

// elements returns the values of a list; ok is false if v is another kind of value.
func (v Value) elements() (list []Value, ok bool) {
	if len(v) < 2 || v[0] != '[' {
		return nil, false
	}
	return list, decodeValues(v, &list) == nil
}

// fields returns the values of an object; ok is false if v is another kind of value.
func (v Value) fields() (fields map[string]Value, ok bool) {
	if len(v) < 2 || v[0] != '{' {
		return nil, false
	}
	return fields, decodeValues(v, &fields) == nil
}

func decodeValues(v Value, to any) error { return json.Unmarshal([]byte(v), to) }

// UnmarshalJSON keeps the text as it is.
func (v *Value) UnmarshalJSON(text []byte) error {
	*v = Value(text)
	return nil
}
