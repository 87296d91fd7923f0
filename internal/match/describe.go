package match

import "fmt"

// String words s for people, as in: prefix "/shop.".
func (s *String) String() string {
	text := fmt.Sprintf("%s %q", s.kind, s.value)
	if s.ignoreCase {
		text += " (any case)"
	}
	return text
}

// Kind returns the way s compares.
func (s *String) Kind() Kind { return s.kind }

// Value returns what s compares with; in lower case when case is ignored.
func (s *String) Value() string { return s.value }

func (k Kind) String() string {
	switch k {
	case Exact:
		return "exact"
	case Prefix:
		return "prefix"
	case Suffix:
		return "suffix"
	case Contains:
		return "contains"
	case Regex:
		return "regex"
	default:
		return fmt.Sprintf("Kind(%d)", int(k))
	}
}
