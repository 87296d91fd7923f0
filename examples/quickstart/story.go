package main

// chapter is one thing that happens while calls flow.
type chapter struct {
	title  string
	routes string // what the policy file's routes become; empty leaves the file alone
	do     func(*stage) error
	// asked is the split that policy asks for, in percent of the calls that are
	// counted afterwards, by version.
	asked map[string]float64
	// canary counts the calls with the header x-canary: 1 apart, and this is their split.
	canary map[string]float64
	// refused says that the edit is bad: policy must stay as it was.
	refused bool
}

// group is calls that are counted together.
type group struct {
	name  string
	kinds []kind
	asked map[string]float64
}

// groups says which calls to count: canaries apart where policy treats them so.
func (c chapter) groups() []group {
	var groups []group
	for _, protocol := range []string{"gRPC", "HTTP"} {
		all, canary := kind{protocol, false}, kind{protocol, true}
		if c.canary == nil {
			groups = append(groups, group{protocol, []kind{all, canary}, c.asked})
			continue
		}
		groups = append(groups,
			group{protocol, []kind{all}, c.asked},
			group{protocol + ", x-canary: 1", []kind{canary}, c.canary})
	}
	return groups
}

var chapters = []chapter{
	{
		title: "Everything goes to v1.",
		asked: map[string]float64{"v1": 100},
	},
	{
		title:  "The file now says v1: 90, v2: 10.",
		routes: split,
		asked:  map[string]float64{"v1": 90, "v2": 10},
	},
	{
		title:  "The file now sends calls with the header x-canary: 1 to v2, whatever the split.",
		routes: canary,
		asked:  map[string]float64{"v1": 90, "v2": 10},
		canary: map[string]float64{"v2": 100},
	},
	{
		title:  "A v1 backend of each kind shuts down. The policy still lists them.",
		do:     (*stage).stopBackends,
		asked:  map[string]float64{"v1": 90, "v2": 10},
		canary: map[string]float64{"v2": 100},
	},
	{
		title:   "A bad edit: the file sends calls to \"v3\", which is nowhere.",
		routes:  bad,
		refused: true,
		asked:   map[string]float64{"v1": 90, "v2": 10},
		canary:  map[string]float64{"v2": 100},
	},
}

// The routes section of the policy file, chapter by chapter.
const (
	split = `routes:
  orders:
    - to: {v1: 90, v2: 10}
  shop:
    - to: {v1: 90, v2: 10}
`
	canary = `routes:
  orders:
    - match: {headers: {x-canary: {exact: "1"}}}
      to: v2
    - to: {v1: 90, v2: 10}
  shop:
    - match: {headers: {x-canary: {exact: "1"}}}
      to: v2
    - to: {v1: 90, v2: 10}
`
	bad = `routes:
  orders:
    - to: v3
  shop:
    - to: v3
`
)
