package resilience

import (
	"testing"
	"time"
)

func TestBackoff(t *testing.T) {
	for _, c := range []struct {
		backoff Backoff
		n       int
		want    time.Duration
	}{
		{Backoff{}, 1, 25 * ms},
		{Backoff{}, 2, 50 * ms},
		{Backoff{}, 4, 200 * ms},
		{Backoff{}, 5, 250 * ms},
		{Backoff{}, 1000, 250 * ms},
		{Backoff{Base: 100 * ms, Max: 150 * ms}, 1, 100 * ms},
		{Backoff{Base: 100 * ms, Max: 150 * ms}, 2, 150 * ms},
		{Backoff{Base: 1 << 62, Max: 1<<63 - 1}, 9, longestWait},
		{Backoff{Base: 1<<63 - 1}, 1, longestWait}, // ten times that is no time
		{Backoff{Base: time.Hour, Max: 1<<63 - 1}, 1000, longestWait},
	} {
		if got := c.backoff.Ceiling(c.n); got != c.want {
			t.Errorf("%+v, wait %d: ceiling %v, want %v", c.backoff, c.n, got, c.want)
		}
		var low, high, least, most bool
		for range 1000 {
			full, narrow := c.backoff.Delay(c.n, FullJitter), float64(c.backoff.Delay(c.n, NarrowJitter))
			if full < 0 || full >= c.want || narrow < 0 {
				t.Fatalf("%+v, wait %d: %v and %v, want less than %v", c.backoff, c.n, full, time.Duration(narrow), c.want)
			}
			low, high = low || full < c.want/4, high || full > c.want*3/4
			least, most = least || narrow < 0.85*float64(c.want), most || narrow > 1.15*float64(c.want)
			if c.want < 1<<40 && (narrow < 0.79*float64(c.want) || narrow > 1.21*float64(c.want)) {
				t.Fatalf("%+v, wait %d: %v, want 80 to 120 %% of %v", c.backoff, c.n, time.Duration(narrow), c.want)
			}
		}
		if !low || !high {
			t.Errorf("%+v, wait %d: 1,000 waits do not spread from zero to the ceiling", c.backoff, c.n)
		}
		if c.want < 1<<40 && (!least || !most) {
			t.Errorf("%+v, wait %d: 1,000 waits do not spread from 80 to 120 %% of the ceiling", c.backoff, c.n)
		}
	}
}

func TestPushback(t *testing.T) {
	never := Pushback{Given: true, Never: true}
	for _, c := range []struct {
		values []string
		want   Pushback
	}{
		{nil, Pushback{}},
		{[]string{"0"}, Pushback{Given: true}},
		{[]string{"1500"}, Pushback{Given: true, After: 1500 * ms}},
		{[]string{"-1"}, never},
		{[]string{"soon"}, never},
		{[]string{""}, never},
		{[]string{"2147483648"}, never},
		{[]string{"1", "1"}, never},
	} {
		if got := ParseGRPCPushback(c.values); got != c.want {
			t.Errorf("%q: %+v, want %+v", c.values, got, c.want)
		}
	}
}

func TestRateLimitedBackoff(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	b := &RateLimitedBackoff{Headers: []ResetHeader{{Name: "retry-after"}, {Name: "x-reset", UnixTime: true}}}
	const none = -1
	for _, c := range []struct {
		header header
		want   time.Duration
	}{
		{header{}, none},
		{header{"retry-after": "0"}, 0},
		{header{"retry-after": " 7 "}, 7 * time.Second},
		{header{"retry-after": "300"}, 300 * time.Second},
		{header{"retry-after": "301"}, none},
		{header{"retry-after": "-1"}, none},
		{header{"retry-after": "99999999999999999999"}, none},
		{header{"retry-after": "Fri, 02 Jan 2026 03:04:15 GMT"}, 10 * time.Second},
		{header{"retry-after": "Fri, 02 Jan 2026 03:04:00 GMT"}, none},
		{header{"x-reset": "1767323055"}, 10 * time.Second},
		{header{"x-reset": "1"}, none},
		{header{"x-reset": "later"}, none},
		{header{"retry-after": "soon", "x-reset": "1767323055"}, 10 * time.Second},
	} {
		got, ok := b.Delay(now, c.header)
		switch {
		case ok != (c.want != none):
			t.Errorf("%v: %v, %v", c.header, got, ok)
		case ok && (got < c.want || got > c.want*3/2):
			t.Errorf("%v: %v, want %v to half as much again", c.header, got, c.want)
		}
	}
	patient := &RateLimitedBackoff{Headers: b.Headers, Max: 1<<63 - 1}
	if got, ok := patient.Delay(now, header{"retry-after": "8589934591"}); !ok || got < longestWait {
		t.Errorf("272 years: %v, %v", got, ok)
	}
	if _, ok := (*RateLimitedBackoff)(nil).Delay(now, header{"retry-after": "1"}); ok {
		t.Error("a backoff that is not configured gave a delay")
	}
}

func FuzzResetHeader(f *testing.F) {
	f.Add("7", false)
	f.Add("Fri, 02 Jan 2026 03:04:15 GMT", false)
	f.Add("1767323055", true)
	f.Fuzz(func(t *testing.T, value string, unix bool) {
		b := RateLimitedBackoff{Headers: []ResetHeader{{Name: "x", UnixTime: unix}}}
		if d, ok := b.Delay(time.Unix(1767323045, 0), header{"x": value}); ok && (d < 0 || d > 450*time.Second) {
			t.Errorf("%q: %v", value, d)
		}
		if p := ParseGRPCPushback([]string{value}); p.After < 0 || !p.Given {
			t.Errorf("%q: %+v", value, p)
		}
	})
}
