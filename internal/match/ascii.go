package match

// LowerASCII returns s with its ASCII letters in lower case: s itself, without
// allocating, if they are.
func LowerASCII(s string) string {
	for i := range len(s) {
		if s[i] != LowerByte(s[i]) {
			return string(AppendLowerASCII(make([]byte, 0, len(s)), s))
		}
	}
	return s
}

// AppendLowerASCII appends s to b with its ASCII letters in lower case.
func AppendLowerASCII(b []byte, s string) []byte {
	for i := range len(s) {
		b = append(b, LowerByte(s[i]))
	}
	return b
}

// HasPrefixFold reports whether s starts with prefix, which is in lower case,
// whatever the case of its own ASCII letters.
func HasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && equalsLower(s[:len(prefix)], prefix)
}

// equalsLower compares v in lower case with low, which is of the same length.
func equalsLower(v, low string) bool {
	for i := range len(v) {
		if LowerByte(v[i]) != low[i] {
			return false
		}
	}
	return true
}

// LowerByte returns c in lower case if it is an ASCII letter.
func LowerByte(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + ('a' - 'A')
	}
	return c
}
