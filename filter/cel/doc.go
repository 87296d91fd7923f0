// Package cel lets match trees look at requests by expressions of the Common Expression
// Language (gRFC A106), as in request.headers["x-user"] == "ann". It stands apart, and
// is brought along like a program's own, because the language adds five mebibytes
// to a program:
//
//	matcher, err := cel.Matcher()
//	m, err := mesh.New(mesh.WithFilter(matcher))
//
// An expression comes checked, as gRPC has it, or as text, which is checked here. What
// could take long is refused: comprehensions, and putting together or making of strings
// and lists. What is left has a limit on its cost; an expression that exceeds it, or
// fails, does not match.
package cel
