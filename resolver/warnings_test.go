package resolver_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/weft-mesh/weft/resolver"
)

// Warnings are logged once, and what a control plane makes up does not fill memory.
func TestWarningsAreBounded(t *testing.T) {
	var log bytes.Buffer
	warnings := resolver.NewWarnings(slog.New(slog.NewTextHandler(&log, nil)))
	decode := decoderOf(t, resolver.Types(resolver.TypesConfig{Warnings: warnings}), resolver.ListenerURL)
	for i := range 40 {
		var filters strings.Builder
		for j := range 50 {
			fmt.Fprintf(&filters, `{"name": "f%d", "isOptional": true}, `, i*50+j)
		}
		l := managerJSON(t, `"rds": {"routeConfigName": "r"}, "addUserAgent": true, "httpFilters": [`+filters.String()+routerJSON+`]`)
		l.Name = fmt.Sprint("l", i)
		if _, _, err := decode(marshal(l)); err != nil {
			t.Fatal(err)
		}
	}
	list := warnings.List()
	if len(list) != 1000 {
		t.Errorf("%d warnings, want the first 1000", len(list))
	}
	if n := strings.Count(log.String(), "add_user_agent"); n != 1 {
		t.Errorf("a field was logged %d times", n)
	}
	for _, w := range list {
		if w.Field == "api_listener.api_listener.add_user_agent" && len(w.Resources) != 16 {
			t.Errorf("%d resources, want the first 16", len(w.Resources))
		}
	}
}
