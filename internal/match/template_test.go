package match

import (
	"strings"
	"testing"
)

func TestTemplate(t *testing.T) {
	for _, test := range []struct {
		template, literal string
		match, miss       []string
	}{
		{"/", "/", []string{"/"}, []string{"", "/a"}},
		{"/a/b", "/a/b", []string{"/a/b"}, []string{"/a/b/", "/a", "x/a/b"}},
		{"/a/", "/a/", []string{"/a/"}, []string{"/a"}},
		{"/a.b", "/a.b", []string{"/a.b"}, []string{"/axb"}},
		{"/*", "/", []string{"/a", "/a=b"}, []string{"/", "/a/b", "/a?b"}},
		{"/a/*/c", "/a/", []string{"/a/b/c"}, []string{"/a//c", "/a/b/x/c"}},
		{"/**", "/", []string{"/", "/a", "/a/b/"}, []string{""}},
		{"/**.mpd", "/", []string{"/a/b.mpd", "/.mpd"}, []string{"/a/b.mp4"}},
		{"/a/**/z", "/a/", []string{"/a/b/c/z", "/a//z"}, []string{"/a/b"}},
		{"/users/{id}/orders/{order}", "/users/", []string{"/users/7/orders/8"}, []string{"/users//orders/8"}},
		{"/{a=x/*/y}", "/", []string{"/x/1/y"}, []string{"/x/y"}},
		{"/{a=**}", "/", []string{"/", "/x/y"}, nil},
		{"/v{version}/{id}.json", "/v", []string{"/v2/456.json"}, []string{"/v/456.json", "/v2/456"}},
	} {
		re, literal, err := Template(test.template)
		if err != nil {
			t.Errorf("%s: %v", test.template, err)
			continue
		}
		if literal != test.literal {
			t.Errorf("%s: the literal is %q, want %q", test.template, literal, test.literal)
		}
		for _, path := range test.match {
			if !re.MatchString(path) {
				t.Errorf("%s does not match %s", test.template, path)
			}
		}
		for _, path := range test.miss {
			if re.MatchString(path) {
				t.Errorf("%s matches %s", test.template, path)
			}
		}
	}
}

func TestTemplateErrors(t *testing.T) {
	for template, want := range map[string]string{
		"":                             "does not start with a slash",
		"a":                            "does not start with a slash",
		"/" + strings.Repeat("a", 256): "longer than 256 bytes",
		"//":                           "empty segment",
		"/a//b":                        "empty segment",
		"/{a}/{a}":                     "{a} stands twice",
		"/{}":                          "not the name of a variable",
		"/{1}":                         "not the name of a variable",
		"/{abcdefghijklmnopq}":         "not the name of a variable",
		"/{a":                          "not closed",
		"/a}":                          "closes nothing",
		"/{a{b}}":                      "within a variable",
		"/{a}{b}":                      "two variables",
		"/{a=}":                        "empty segment",
		"/{a=/x}":                      "empty segment",
		"/**/*":                        "can follow **",
		"/**/{a}":                      "can follow **",
		"/{a=**}/*":                    "can follow **",
		"/***":                         "neither * nor **",
		"/*.x/a":                       "in the last segment only",
		"/a*b":                         "not the text of a segment",
		"/a b":                         "not the text of a segment",
		"/a?b":                         "not the text of a segment",
		"/{a}/{b}/{c}/{d}/{e}/{f}":     "more than 5 variables",
	} {
		if _, _, err := Template(template); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: the error is %v, want %s", template, err, want)
		}
	}
}

// FuzzTemplate: a template that compiles matches itself where it has no operator,
// and every match starts with its literal.
func FuzzTemplate(f *testing.F) {
	for _, template := range []string{"/", "/a/*/{b=x/**}.y", "/v{version}/{id}.json", "/{a", "/**/*"} {
		f.Add(template, "/v2/7.json")
	}
	f.Fuzz(func(t *testing.T, template, path string) {
		re, literal, err := Template(template)
		if err != nil {
			return
		}
		if !strings.ContainsAny(template, "*{") && !re.MatchString(template) {
			t.Errorf("%q does not match itself", template)
		}
		if re.MatchString(path) && !strings.HasPrefix(path, literal) {
			t.Errorf("%q matches %q, which does not start with %q", template, path, literal)
		}
	})
}
