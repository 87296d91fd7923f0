package cel

import (
	"errors"
	"fmt"
	"strings"

	celgo "cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/expr"
	matcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	xdsv3 "github.com/cncf/xds/go/xds/type/v3"
	exprpb "google.golang.org/genproto/googleapis/api/expr/v1alpha1"
	"google.golang.org/protobuf/proto"

	"github.com/weft-mesh/weft/filter"
	"github.com/weft-mesh/weft/filter/internal/attribute"
)

// Matcher returns the kind of xds.type.matcher.v3.CelMatcher, for mesh.WithFilter. It
// fails only if the CEL library does.
func Matcher() (filter.Kind, error) {
	env, err := celgo.NewEnv(
		celgo.Variable("request", celgo.MapType(celgo.StringType, celgo.DynType)),
		celgo.ClearMacros(), celgo.Macros(celgo.HasMacro),
	)
	if err != nil {
		return nil, err
	}
	return filter.MatcherOf("xds.type.matcher.v3.CelMatcher", func(m *matcherv3.CelMatcher) (filter.Matcher, error) {
		p, err := compile(env, m.GetExprMatch())
		if err != nil {
			return nil, fmt.Errorf("expr_match: %w", err)
		}
		return p, nil
	}), nil
}

// maxCost bounds what one evaluation may do, in CEL's units of cost: about one a node.
const maxCost = 10_000

// maxExpression bounds an expression's text, in bytes.
const maxExpression = 16 << 10

func compile(env *celgo.Env, e *xdsv3.CelExpression) (p *program, err error) {
	// The library trusts what is said to be checked, and indexes out of range in what is not.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("is malformed: %v", r)
		}
	}()
	var tree *celgo.Ast
	switch {
	case e.GetCelExprChecked() != nil:
		if tree, err = checked(e.GetCelExprChecked()); err != nil {
			return nil, fmt.Errorf("cel_expr_checked: %w", err)
		}
	case e.GetCelExprString() != "":
		if n := len(e.GetCelExprString()); n > maxExpression {
			return nil, fmt.Errorf("cel_expr_string: is %d bytes long, more than %d", n, maxExpression)
		}
		var issues *celgo.Issues
		if tree, issues = env.Compile(e.GetCelExprString()); issues.Err() != nil {
			return nil, fmt.Errorf("cel_expr_string: %w", issues.Err())
		}
	default:
		return nil, errors.New("must have cel_expr_checked or cel_expr_string")
	}
	if out := tree.OutputType(); !out.IsExactType(celgo.BoolType) {
		return nil, fmt.Errorf("is of type %s, not bool", out)
	}
	headers, err := inspect(tree.NativeRep())
	if err != nil {
		return nil, err
	}
	evaluate, err := env.Program(tree, celgo.EvalOptions(celgo.OptOptimize), celgo.CostLimit(maxCost))
	if err != nil {
		return nil, err
	}
	return &program{evaluate, headers}, nil
}

// checked reads an expression that was checked elsewhere. The library knows it by the
// older of its two names, with the same encoding.
func checked(e *expr.CheckedExpr) (*celgo.Ast, error) {
	raw, err := proto.Marshal(e)
	if err != nil {
		return nil, err
	}
	var older exprpb.CheckedExpr
	if err := proto.Unmarshal(raw, &older); err != nil {
		return nil, err
	}
	return celgo.CheckedExprToAstWithSource(&older, nil)
}

// inspect refuses what gRFC A106 refuses, and reports whether the expression looks at
// headers.
func inspect(tree *ast.AST) (headers bool, err error) {
	for _, ref := range tree.ReferenceMap() {
		for _, overload := range ref.OverloadIDs {
			if overload == "add_string" || overload == "add_list" || overload == "add_bytes" || strings.HasSuffix(overload, "_to_string") {
				return false, fmt.Errorf("%s is not allowed", overload)
			}
		}
	}
	ast.PostOrderVisit(tree.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.ComprehensionKind:
			err = errors.New("comprehensions are not allowed")
		case ast.SelectKind:
			headers = headers || e.AsSelect().FieldName() == "headers"
		case ast.CallKind: // request["headers"], and indexes that are computed
			headers = headers || e.AsCall().FunctionName() == "_[_]"
		case ast.IdentKind, ast.ListKind, ast.LiteralKind, ast.MapKind, ast.StructKind, ast.UnspecifiedExprKind:
		}
	}))
	return headers, err
}

// program is a compiled expression.
type program struct {
	celgo.Program
	headers bool // it may look at them
}

// Matches evaluates the expression. One that fails, for what the request does not have,
// does not match.
func (p *program) Matches(r *filter.Request) bool {
	v, _, err := p.Eval(map[string]any{"request": attribute.Request(r, p.headers)})
	if err != nil {
		return false
	}
	matches, _ := v.Value().(bool)
	return matches
}
