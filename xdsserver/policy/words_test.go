package policy

import (
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestNearest(t *testing.T) {
	names := []string{"orders", "payments", "v1", "shipping", "order"}
	for _, test := range []struct{ word, want string }{
		{"ordrs", "orders"},      // a letter left out
		{"odrers", "orders"},     // two swapped
		{"Payments", "payments"}, // case
		{"orde", "order"},        // the nearer of two
		{"v2", "v1"},
		{"x", ""},
		{"invoices", ""},
		{"", ""},
		{strings.Repeat("orders", 100), ""},
	} {
		if got := nearest(test.word, slices.Values(names)); got != test.want {
			t.Errorf("nearest(%q) = %q, want %q", test.word, got, test.want)
		}
	}
}

func TestFraction(t *testing.T) {
	for text, want := range map[string]Fraction{
		"0%": 0, "100%": 1_000_000, "2.5%": 25_000, "0.0001%": 1, "33.3333%": 333_333, "07%": 70_000,
	} {
		got, err := ParseFraction(text)
		if err != nil || got != want {
			t.Errorf("ParseFraction(%q) = %d, %v; want %d", text, got, err, want)
		}
		if back, err := ParseFraction(got.String()); err != nil || back != got {
			t.Errorf("ParseFraction(%q) = %d, %v; want %d", got.String(), back, err, got)
		}
	}
	for _, text := range []string{"", "%", "1", "-1%", "+1%", "100.0001%", "1.%", ".5%", "0.00001%", "1e1%", " 1%", "1000%", "1_0%"} {
		if got, err := ParseFraction(text); err == nil {
			t.Errorf("ParseFraction(%q) = %d, want an error", text, got)
		}
	}
}

func TestPaths(t *testing.T) {
	p := path("").field("routes").field(`shop.example:8080["]\`).index(3).field("to")
	if want := path(`routes["shop.example:8080[\"]\\"][3].to`); p != want {
		t.Errorf("the path is %s, want %s", p, want)
	}
	var steps []path
	for ; p != ""; p = p.parent() {
		steps = append(steps, p)
	}
	want := []path{
		`routes["shop.example:8080[\"]\\"][3].to`, `routes["shop.example:8080[\"]\\"][3]`, `routes["shop.example:8080[\"]\\"]`, `routes`,
	}
	if !slices.Equal(steps, want) {
		t.Errorf("the steps are %q, want %q", steps, want)
	}
}

// FuzzPath walks back from any path that names can make.
func FuzzPath(f *testing.F) {
	f.Add("a.b", `"`, 3)
	f.Add(`\`, "]", -1)
	f.Fuzz(func(t *testing.T, a, b string, i int) {
		p := path("").field(a)
		q := p.field(b)
		r := q.index(i)
		if r.parent() != q || q.parent() != p || p.parent() != "" {
			t.Errorf("%s: parents %s, %s, %s", strconv.Quote(string(r)), r.parent(), r.parent().parent(), p.parent())
		}
	})
}

// TestBegun finds names that were cut short, or to which something was added.
func TestBegun(t *testing.T) {
	names := []string{"adaptiveConcurrency", "breaker", "perTryTimeout", "perTryIdleTimeout", "on", "httpStatus"}
	for word, want := range map[string]string{
		"adaptive": "adaptiveConcurrency", "Adaptive": "adaptiveConcurrency", "circuitBreaker": "breaker", "status": "httpStatus",
		"timeout": "", "retryOn": "", "per": "", "concur": "", "": "",
	} {
		if got := begun(word, slices.Values(names)); got != want {
			t.Errorf("begun(%q) = %q, want %q", word, got, want)
		}
	}
}
