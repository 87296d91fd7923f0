package mesh

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/weft-mesh/weft/resolver"
	"github.com/weft-mesh/weft/resolver/grpcservice"
	"github.com/weft-mesh/weft/xdsserver/policy"
)

// WithPolicyFile embeds the control plane: the mesh goes by the policy file, or the
// folder of them, at path. It is watched; a change takes effect at once, a bad one is
// logged and the policy that was good stays.
func WithPolicyFile(path string) Option {
	return from("WithPolicyFile", func(o *options) (*source, error) {
		p, err := policy.Load(path)
		if err != nil {
			return nil, err
		}
		e, err := embed(o, p)
		if err != nil {
			return nil, err
		}
		e.watch(path)
		return e.source(), nil
	})
}

// WithPolicy embeds the control plane with a fixed policy, as from go:embed.
func WithPolicy(yaml []byte) Option {
	return from("WithPolicy", func(o *options) (*source, error) {
		p, err := policy.Parse("policy", yaml)
		if err != nil {
			return nil, err
		}
		e, err := embed(o, p)
		if err != nil {
			return nil, err
		}
		return e.source(), nil
	})
}

// embedded is the control plane in the process: the policy compiler and, in place of
// a server and a stream, a [resolver.Static].
type embedded struct {
	log      *slog.Logger
	static   *resolver.Static
	warnings *resolver.Warnings
	asked    *grpcservice.Services // by filters
	stop     context.CancelFunc
	done     sync.WaitGroup
}

func embed(o *options, p *policy.Policy) (*embedded, error) {
	services := grpcservice.New(grpcservice.Config{Trusted: true, Logger: o.logger})
	warnings := resolver.NewWarnings(o.logger)
	e := &embedded{
		log:      o.logger,
		warnings: warnings,
		asked:    services,
		static: resolver.NewStatic(resolver.Types(resolver.TypesConfig{
			Warnings: warnings,
			Trusted:  true,
			Filters:  o.filters.WithServices(services),
			Servers:  true,
		})),
		stop: func() {},
	}
	if err := e.set(p); err != nil {
		services.Close()
		return nil, err
	}
	return e, nil
}

func (e *embedded) set(p *policy.Policy) error {
	compiled, err := p.Compile()
	if err != nil {
		return err
	}
	resources := map[string][]resolver.StaticResource{}
	for r := range compiled.All() {
		resources[r.TypeURL] = append(resources[r.TypeURL], resolver.StaticResource{
			Name: r.Name, Version: r.Version, Raw: r.Body.GetValue(),
		})
	}
	return e.static.Set(resources)
}

func (e *embedded) watch(path string) {
	ctx, stop := context.WithCancel(context.Background())
	e.stop = stop
	e.done.Go(func() {
		policy.Watch(ctx, path, func(p *policy.Policy, err error) {
			if err == nil {
				err = e.set(p)
			}
			if err != nil {
				e.log.Error("policy not changed", "path", path, "err", err)
				return
			}
			e.log.Debug("policy read", "path", path)
		})
	})
}

func (e *embedded) source() *source {
	return &source{
		resources: e.static,
		names: names{listener: func(authority, target string) (string, error) {
			if authority != "" {
				return "", fmt.Errorf("a policy file knows no xDS authority %q", authority)
			}
			return target, nil
		}},
		status:   func() string { return "" },
		warnings: e.warnings,
		close: func() {
			e.stop()
			e.done.Wait()
			e.asked.Close()
		},
	}
}
