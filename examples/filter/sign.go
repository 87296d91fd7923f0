package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/weft-mesh/weft/filter"
)

var (
	dateHeader      = filter.NewHeaderName("x-date")
	signatureHeader = filter.NewHeaderName("x-signature")
)

// signing is the kind of filter that policy knows as shop.example/Sign: it signs
// requests, of either protocol, with the key that its configuration names.
func signing(keys map[string][]byte) filter.Kind {
	type config struct{ Key string }
	return filter.Of("shop.example/Sign", func(c config) (filter.Filter, error) {
		secret, ok := keys[c.Key]
		if !ok {
			return nil, fmt.Errorf("there is no key %q", c.Key)
		}
		return filter.Func(func(_ context.Context, r *filter.Request) error {
			date := time.Now().UTC().Format(time.RFC3339)
			r.Header.Set(dateHeader, date)
			r.Header.Set(signatureHeader, c.Key+" "+signature(secret, r.Method, r.Path, date))
			return nil
		}), nil
	})
}

func signature(secret []byte, method, path, date string) string {
	h := hmac.New(sha256.New, secret)
	fmt.Fprintf(h, "%s %s %s", method, path, date)
	return hex.EncodeToString(h.Sum(nil))
}
