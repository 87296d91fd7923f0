package bootstrap

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/weft-mesh/weft/resolver/xds"
	"github.com/weft-mesh/weft/security"
)

type serverJSON struct {
	URI          string      `json:"server_uri"`
	ChannelCreds []credsJSON `json:"channel_creds"`
	CallCreds    []credsJSON `json:"call_creds"`
	Features     []string    `json:"server_features"`
}

// credsJSON are channel or call credentials: a type, and what that type wants to know.
type credsJSON struct {
	Type   string          `json:"type"`
	Config json.RawMessage `json:"config"`
}

// servers reads a list of servers; field says where it stands.
func servers(field string, list []serverJSON, p xds.Protocol) ([]xds.ServerConfig, error) {
	var all []xds.ServerConfig
	for i, j := range list {
		s, err := j.config(p)
		if err != nil {
			return nil, fmt.Errorf("%s[%d].%w", field, i, err)
		}
		all = append(all, s)
	}
	return all, nil
}

func (j *serverJSON) config(p xds.Protocol) (xds.ServerConfig, error) {
	s := xds.ServerConfig{
		URI:      j.URI,
		Protocol: p,
		// ignore_resource_deletion (gRFC A53) is what happens anyway: A88 made its
		// contrary, fail_on_data_errors, the one to ask for.
		FailOnDataErrors:                slices.Contains(j.Features, "fail_on_data_errors"),
		ResourceTimerIsTransientFailure: slices.Contains(j.Features, "resource_timer_is_transient_failure"),
		Trusted:                         slices.Contains(j.Features, "trusted_xds_server"),
	}
	if s.URI == "" {
		return s, fmt.Errorf("server_uri is missing")
	}
	var err error
	if s.Channel, err = channelCreds(j.ChannelCreds); err != nil {
		return s, err
	}
	for i, c := range j.CallCreds {
		if c.Type != "jwt_token_file" {
			continue // gRFC A97: use those that are known
		}
		field := fmt.Sprintf("call_creds[%d].config", i)
		var config struct {
			File string `json:"jwt_token_file"`
		}
		if len(c.Config) > 0 {
			if err := json.Unmarshal(c.Config, &config); err != nil {
				return s, fmt.Errorf("%s: %w", field, err)
			}
		}
		if config.File == "" {
			return s, fmt.Errorf("%s.jwt_token_file is missing", field)
		}
		if s.Channel.Type == xds.CredsInsecure {
			return s, fmt.Errorf("call_creds[%d]: a token is not sent over an insecure channel", i)
		}
		s.JWTFiles = append(s.JWTFiles, config.File)
	}
	return s, nil
}

// channelCreds takes the first credentials of a type that is supported (gRFC A27).
func channelCreds(list []credsJSON) (xds.ChannelCreds, error) {
	if len(list) == 0 {
		return xds.ChannelCreds{}, fmt.Errorf("channel_creds is missing or empty")
	}
	var types []string
	for i, c := range list {
		switch c.Type {
		case xds.CredsInsecure:
			return xds.ChannelCreds{Type: c.Type}, nil
		case xds.CredsTLS:
			files, err := security.ParseFileWatcherConfig(c.Config)
			if err != nil {
				return xds.ChannelCreds{}, fmt.Errorf("channel_creds[%d].config: %w", i, err)
			}
			return xds.ChannelCreds{Type: c.Type, TLS: files}, nil
		}
		types = append(types, fmt.Sprintf("%q", c.Type))
	}
	err := fmt.Errorf("channel_creds: none of %s is supported; use %q or %q",
		strings.Join(types, ", "), xds.CredsTLS, xds.CredsInsecure)
	if slices.Contains(types, `"google_default"`) {
		err = fmt.Errorf("%w (google_default needs Google's own libraries, which Weft does without)", err)
	}
	return xds.ChannelCreds{}, err
}
