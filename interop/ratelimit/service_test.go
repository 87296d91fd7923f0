package ratelimit

import (
	"math/rand"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	servicev3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"github.com/envoyproxy/ratelimit/src/config"
	"github.com/envoyproxy/ratelimit/src/provider"
	"github.com/envoyproxy/ratelimit/src/redis"
	"github.com/envoyproxy/ratelimit/src/server"
	service "github.com/envoyproxy/ratelimit/src/service"
	"github.com/envoyproxy/ratelimit/src/settings"
	"github.com/envoyproxy/ratelimit/src/stats"
	"github.com/envoyproxy/ratelimit/src/utils"
	gostats "github.com/lyft/gostats"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"

	"github.com/weft-mesh/weft/mesh/meshtest"
)

// fixed gives the service one configuration, as it begins.
type fixed struct {
	events chan provider.ConfigUpdateEvent
}

func (f fixed) ConfigUpdateEvent() <-chan provider.ConfigUpdateEvent { return f.events }
func (fixed) Stop()                                                  {}

type loaded struct{ config config.RateLimitConfig }

func (l loaded) GetConfig() (config.RateLimitConfig, any) { return l.config, nil }

// still is a clock that does not go on: no window ends while a test counts in it.
type still struct{ now int64 }

func (s still) UnixNow() int64 { return s.now }

var _ utils.TimeSource = still{}

// startService runs the service with a configuration, and returns where it listens.
func startService(t *testing.T, yaml string) (addr string, counters *miniredis.Miniredis) {
	t.Helper()
	db := miniredis.RunT(t)
	manager := stats.NewStatManager(gostats.NewStore(gostats.NewNullSink(), false), settings.NewSettings())
	clock := still{time.Now().Unix() / 3600 * 3600} // the begin of an hour, of a minute and of a second
	client := redis.NewClientImpl(manager.GetStatsStore(), false, "", "tcp", "single", db.Addr(), 4, 0, 0, nil, false, nil, time.Minute, "", "")
	t.Cleanup(func() { _ = client.Close() })
	cache := redis.NewFixedRateLimitCacheImpl(client, nil, clock, rand.New(rand.NewSource(1)), 0, nil, 0.8, "", manager, false)
	events := make(chan provider.ConfigUpdateEvent, 1)
	events <- loaded{config.NewRateLimitConfigImpl([]config.RateLimitConfigToLoad{{Name: "limits.yaml", ConfigYaml: config.ConfigFileContentToYaml("limits.yaml", yaml)}}, manager, false)}
	s := service.NewService(cache, fixed{events}, manager, server.NewHealthChecker(health.NewServer(), "ratelimit", false), clock, false, false, false)
	b := meshtest.GRPC(t, func(r grpc.ServiceRegistrar) { servicev3.RegisterRateLimitServiceServer(r, s) })
	return b.Addr, db
}
