package policy

import (
	"fmt"
	"strconv"
	"strings"
)

// Fraction is a part of all calls, in millionths: 1,000,000 is every call. It is
// written in percent with up to four decimals: 25%, 0.5%, 0.0001%.
type Fraction uint32

// ParseFraction reads a percentage such as "2.5%", from 0% to 100%. The decimals
// are exact: no float lies between the text and the value.
func ParseFraction(s string) (Fraction, error) {
	bad := fmt.Errorf("bad percentage %q: want a number from 0%% to 100%% with up to four decimals, such as 2.5%%", s)
	number, ok := strings.CutSuffix(s, "%")
	if !ok {
		return 0, bad
	}
	whole, decimals, dot := strings.Cut(number, ".")
	if whole == "" || len(whole) > 3 || len(decimals) > 4 || dot && decimals == "" {
		return 0, bad
	}
	n, err := strconv.ParseUint(whole+decimals+"0000"[len(decimals):], 10, 32)
	if err != nil || n > 1_000_000 {
		return 0, bad
	}
	return Fraction(n), nil
}

// String is the percentage that ParseFraction reads.
func (f Fraction) String() string {
	s := strconv.FormatFloat(float64(f)/10_000, 'f', 4, 64)
	return strings.TrimRight(strings.TrimRight(s, "0"), ".") + "%"
}
