package kernelmode

// What the external tests, which also use kerneltest, need of the inside.
var (
	Choose = func(s Selection, all []Interface, device string, err error) (Underlay, error) {
		return choose(s, all, reached{device, err})
	}
	ParseEvent = parseEvent
	Attribute  = attribute
	InfoData   = infoData
	ParseVXLAN = parseVXLAN
	ParseIPIP  = parseIPIP
)

// Concerns asks the filter that the reconciler asks.
func Concerns(s Scope, e Event) bool { return interestOf(s).concerns(e) }

// Run runs f on a thread in the namespace.
func (k *Netlink) Run(f func() error) error { return k.within(f) }

// What the judging of probes works from.
type (
	Step         = step
	Surroundings struct {
		Release                                    string
		NetAdmin, InitialUser, Filtered, NoLoading bool
		Inside, Indexed                            bool
		BuiltIn                                    string
	}
)

const (
	StepSocket = stepSocket
	StepNode   = stepNode
	StepDevice = stepDevice
)

var Configured = configured

func Judge(f Feature, at Step, err error, s Surroundings) Capability {
	return judge(f, at, err, surroundings{
		release: s.Release, netAdmin: s.NetAdmin, initialUser: s.InitialUser, filtered: s.Filtered,
		noLoading: s.NoLoading, inside: s.Inside, indexed: s.Indexed, builtIn: s.BuiltIn,
	})
}
