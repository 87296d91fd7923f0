package security

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
)

// ProviderConfig is one entry of the bootstrap's certificate_providers (gRFC A29).
type ProviderConfig struct {
	Plugin string          // plugin_name
	Config json.RawMessage // config
}

// pluginFileWatcher is the one plugin there is.
const pluginFileWatcher = "file_watcher"

// Providers are the certificate provider instances of a bootstrap, by the names
// that policy uses (envoy CertificateProviderPluginInstance.instance_name). An
// instance is started when it is first asked for. Safe for concurrent use.
type Providers struct {
	logger  *slog.Logger
	foreign map[string]string            // plugins that are not known, by instance name
	configs map[string]FileWatcherConfig // by instance name

	mu      sync.Mutex
	started map[string]*FileWatcher // nil when closed
}

// NewProviders checks the configurations. A plugin that is not known is an error
// only for those who ask for its instance, a bad configuration at once. logger may
// be nil for the default one.
func NewProviders(instances map[string]ProviderConfig, logger *slog.Logger) (*Providers, error) {
	p := &Providers{
		logger:  logger,
		foreign: make(map[string]string),
		configs: make(map[string]FileWatcherConfig),
		started: make(map[string]*FileWatcher),
	}
	if p.logger == nil {
		p.logger = slog.Default()
	}
	for name, instance := range instances {
		if instance.Plugin != pluginFileWatcher {
			p.foreign[name] = instance.Plugin
			continue
		}
		config, err := ParseFileWatcherConfig(instance.Config)
		if err == nil {
			err = config.validate()
		}
		if err != nil {
			return nil, fmt.Errorf("certificate provider %q: %w", name, err)
		}
		p.configs[name] = config
	}
	return p, nil
}

// Identity returns the identity that the instance of this name gives; an empty name
// means "default". It fails if there is no such instance, or it has no certificate
// configured, and does not wait for the certificate itself.
func (p *Providers) Identity(name string) (IdentitySource, error) {
	w, err := p.instance(name)
	if err != nil {
		return nil, err
	}
	if w.config.CertificateFile == "" {
		return nil, fmt.Errorf("security: certificate provider %q has no certificate_file", name)
	}
	return w, nil
}

// Roots returns the authorities that the instance of this name gives, as Identity
// does its identity.
func (p *Providers) Roots(name string) (RootSource, error) {
	w, err := p.instance(name)
	if err != nil {
		return nil, err
	}
	if w.config.CACertificateFile == "" {
		return nil, fmt.Errorf("security: certificate provider %q has no ca_certificate_file", name)
	}
	return w, nil
}

// instance returns the watcher of an instance, started.
func (p *Providers) instance(name string) (*FileWatcher, error) {
	if name == "" {
		name = "default"
	}
	config, ok := p.configs[name]
	if !ok {
		return nil, p.unknown(name)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.started == nil {
		return nil, errors.New("security: certificate providers are closed")
	}
	if w := p.started[name]; w != nil {
		return w, nil
	}
	w, err := NewFileWatcher(config, p.logger.With("provider", name))
	if err != nil {
		return nil, fmt.Errorf("certificate provider %q: %w", name, err)
	}
	p.started[name] = w
	return w, nil
}

func (p *Providers) unknown(name string) error {
	if plugin, ok := p.foreign[name]; ok {
		return fmt.Errorf("security: certificate provider %q needs plugin %q, which is not known (%s is)", name, plugin, pluginFileWatcher)
	}
	if len(p.configs) == 0 {
		return fmt.Errorf("security: certificate provider %q is not defined: the bootstrap has no certificate_providers", name)
	}
	names := slices.Sorted(maps.Keys(p.configs))
	return fmt.Errorf("security: certificate provider %q is not defined by the bootstrap (it has %s)", name, strings.Join(names, ", "))
}

// Close stops the instances and waits until they have. Handshakes that need them
// fail from then on.
func (p *Providers) Close() error {
	p.mu.Lock()
	started := p.started
	p.started = nil
	p.mu.Unlock()
	var errs []error
	for _, w := range started {
		errs = append(errs, w.Close())
	}
	return errors.Join(errs...)
}
