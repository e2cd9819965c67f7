package kernelmode

// What the external tests, which also use kerneltest, need of the inside.
var (
	Choose = func(s Selection, all []Interface, device string, err error) (Underlay, error) {
		return choose(s, all, reached{device, err})
	}
	ParseEvent = parseEvent
	Attribute  = attribute
)

// Concerns asks the filter that the reconciler asks.
func Concerns(s Scope, e Event) bool { return interestOf(s).concerns(e) }

// Run runs f on a thread in the namespace.
func (k *Netlink) Run(f func() error) error { return k.within(f) }
