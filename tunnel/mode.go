package tunnel

import "fmt"

// A Mode is an operator's wish for one rung of the ladder: the value of an --offload-… flag.
type Mode uint8

// The modes. On doesn't mean forever: a rung that fails at run time goes off all the same, since the
// alternative is to lose the packets.
const (
	Auto Mode = iota // in use where probing finds it working
	On               // opening fails where it can't be had
	Off              // not even probed
)

// String returns the flag's text: auto, on or off.
func (m Mode) String() string {
	switch m {
	case On:
		return "on"
	case Off:
		return "off"
	}
	return "auto"
}

// Set implements flag.Value. The error names the value and what is allowed.
func (m *Mode) Set(text string) error {
	switch text {
	case "auto":
		*m = Auto
	case "on":
		*m = On
	case "off":
		*m = Off
	default:
		return fmt.Errorf("%q is none of auto, on, off", text)
	}
	return nil
}

// Modes holds the wish for each rung; the zero value leaves all of them to probing.
type Modes struct {
	TSO, USO, GSO, GRO, MultiQueue, Batch Mode
	TunnelGSO                             Mode // OpenOutlets is the caller's affair: see Outlet
}
