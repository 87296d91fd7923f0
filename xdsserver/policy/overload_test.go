package policy

import (
	"strings"
	"testing"
)

// TestBadOverload has each mistake in what keeps calls back be an error that says so, at
// its place.
func TestBadOverload(t *testing.T) {
	for config, want := range map[string]string{
		`adaptiveConcurrency: {}, loadShed: {maxRequests: 1}`:                                `p.yaml:2:58: "loadShed" cannot stand beside "adaptiveConcurrency"`,
		`adaptiveConcurrency: {}, admissionControl: {}`:                                      `"admissionControl" cannot stand beside "adaptiveConcurrency"`,
		`adaptiveConcurrency: {}, config: {"@type": x/Y}`:                                    `"adaptiveConcurrency" cannot stand beside "config"`,
		`adaptiveConcurency: {}`:                                                             `(did you mean "adaptiveConcurrency"?)`,
		`adaptiveConcurrency: {sampleAggregatePercentile: 50}`:                               `want a percentage`,
		`adaptiveConcurrency: {maxConcurrencyLimit: 0}`:                                      `p.yaml:2:76: 0: it must be 1 to`,
		`adaptiveConcurrency: {minConcurrencyLimit: 0}`:                                      `it must be 1 to`,
		`adaptiveConcurrency: {minConcurrencyLimit: 5, maxConcurrencyLimit: 4}`:              `5: it must not be more than maxConcurrencyLimit, 4`,
		`adaptiveConcurrency: {concurrencyUpdateInterval: 1us}`:                              `1µs: it must be at least 1ms`,
		`adaptiveConcurrency: {concurrencyLimitExceededStatus: 200}`:                         `200: it must be 400 to 599`,
		`adaptiveConcurrency: {minRttCalcParams: {interval: 0s}}`:                            `it must be at least 1ms`,
		`adaptiveConcurrency: {minRttCalcParams: {fixedValue: 0s}}`:                          `it must be at least 1ms`,
		`adaptiveConcurrency: {minRttCalcParams: {fixedValue: 1s, interval: 5s}}`:            `"interval" cannot stand beside "fixedValue"`,
		`adaptiveConcurrency: {minRttCalcParams: {fixedValue: 1s, requestCount: 5}}`:         `"requestCount" cannot stand beside "fixedValue"`,
		`adaptiveConcurrency: {minRttCalcParams: {requestCount: 0}}`:                         `it must be 1 to`,
		`adaptiveConcurrency: {minRttCalcParams: {minConcurrency: 0}}`:                       `it must be 1 to`,
		`adaptiveConcurrency: {minRttCalcParams: {bufer: 5%}}`:                               `(did you mean "buffer"?)`,
		`admissionControl: {samplingWindow: 1500ms}`:                                         `it must be whole seconds`,
		`admissionControl: {srThreshold: 0.5%}`:                                              `0.5%: it must be 1% to 100%`,
		`admissionControl: {aggression: 0.5}`:                                                `0.5: it must be at least 1`,
		`admissionControl: {maxRejectionProbability: 101%}`:                                  `bad percentage`,
		`admissionControl: {successCriteria: {httpSuccessStatus: [{start: 200}]}}`:           `field "end" is missing`,
		`admissionControl: {successCriteria: {httpSuccessStatus: [{start: 300, end: 300}]}}`: `300 to 300: it must be a range from 100 to 600`,
		`admissionControl: {successCriteria: {grpcSuccessStatus: [17]}}`:                     `17: it must be 0 to 16`,
		`loadShed: {}`:                                                                 `field "maxRequests" is missing`,
		`loadShed: {maxRequests: 0}`:                                                   `0: it must be at least 1`,
		`loadShed: {maxRequests: 1, share: 0%}`:                                        `0%: it must be 0.0001% to 100%`,
		`loadShed: {maxRequests: 1, shares: {a: 5%}}`:                                  `give "priorityHeader"`,
		`loadShed: {maxRequests: 1, priorityHeader: x}`:                                `has no meaning without "shares"`,
		`loadShed: {maxRequests: 1, priorityHeader: x y, shares: {a: 5%}}`:             `"x y" is not the name of a header`,
		`loadShed: {maxRequests: 1, priorityHeader: x, shares: {a: 0%}}`:               `0%: it must be`,
		`loadShed: {maxRequests: 1, queue: {}}`:                                        `field "size" is missing`,
		`loadShed: {maxRequests: 1, queue: {size: 0}}`:                                 `0: it must be at least 1`,
		`loadShed: {maxRequests: 1, queue: {size: 1, interval: 0s}}`:                   `it must be greater than zero`,
		`loadShed: {maxRequests: 1, queue: {size: 1, target: 0s}}`:                     `it must be greater than zero`,
		`loadShed: {maxRequests: 1, retryAfter: 0s}`:                                   `it must be greater than zero`,
		"loadShed: {maxRequests: 1}}], a: [{name: y, loadShed: {maxRequests: 1}":       `"loadShed" is for servers`,
		"loadShed: {maxRequests: 1}}]}\nroutes: {inbound/a: [{filters: {x: {share: 0%": `0%: it must be`,
		"admissionControl: {}}]}\nroutes: {inbound/a: [{filters: {x: {share: 5%":       `"x" is not a loadShed filter`,
		"loadShed: {maxRequests: 1}}]}\nroutes: {inbound/a: [{filters: {x: {":          `say one of config, share and disabled`,
	} {
		text := "services: {a: {endpoints: [192.0.2.1:1]}}\nfilters: {inbound/a: [{name: x, " + config + "}]}\n"
		if strings.Contains(config, "\nroutes") {
			text = strings.TrimSuffix(text, "}]}\n") + "}}}]}\n"
		}
		_, err := Parse("p.yaml", []byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is %v, want %q", config, err, want)
		}
	}
}

// TestOverloadConfigsAreGood has Envoy's own rules for the fields find nothing in what the
// short forms become.
func TestOverloadConfigsAreGood(t *testing.T) {
	p, err := Load("testdata/compile/overload.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for host, filters := range p.Filters {
		for _, f := range filters {
			m, err := f.typedConfig().UnmarshalNew()
			if err != nil {
				t.Fatal(err)
			}
			for _, problem := range problems(m) {
				t.Errorf("%s of %s: %s", f.Name, host, problem)
			}
		}
	}
}
