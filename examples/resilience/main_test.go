package main

import (
	"strings"
	"testing"
)

func TestResilience(t *testing.T) {
	var out strings.Builder
	columns, err := run(&out)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range columns {
		plain := strings.HasSuffix(c.service, "-plain")
		if c.calls != callers*callsPerCaller || plain != (c.failed > 0) {
			t.Errorf("%s: %d of %d calls failed", c.service, c.failed, c.calls)
		}
		if open := c.failing*6 < c.all; open == plain { // in turn it is a third
			t.Errorf("%s: %d of %d attempts went to the backend that fails", c.service, c.failing, c.all)
		}
	}
	if lines := strings.Split(strings.TrimSpace(out.String()), "\n"); len(lines) != 7 || !strings.Contains(lines[2], "0.0 %") {
		t.Errorf("printed\n%s", out.String())
	}
}
