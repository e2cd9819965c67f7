package perf

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// TCP's congestion control decides how much is under way at once, and so how often a forwarder has to be woken, and how
// cold a packet's bytes are by the time it copies them. Figures of two of them don't compare.
const (
	congestionKey       = "net.ipv4.tcp_congestion_control"
	congestionPath      = "/proc/sys/net/ipv4/tcp_congestion_control" // of the network namespace of who reads it
	congestionAvailable = "/proc/sys/net/ipv4/tcp_available_congestion_control"
)

// checkCongestion says what this kernel has where it lacks what was asked for.
func (o *Options) checkCongestion() error {
	if o.Congestion == "" {
		return nil
	}
	text, err := os.ReadFile(congestionAvailable)
	if err != nil {
		return fmt.Errorf("asking for TCP's congestion controls: %w", err)
	}
	have := strings.Fields(string(text))
	if !slices.Contains(have, o.Congestion) {
		return fmt.Errorf("TCP congestion control %q isn't to be had here: use one of %s, or load its module (modprobe tcp_%[1]s)", o.Congestion, strings.Join(have, ","))
	}
	return nil
}

// control sets the congestion control at both ends of the load, "" for leaving it as it is, and returns which it is.
func (f *fabric) control(name string) (is string, err error) {
	for _, e := range []end{f.far, f.near} {
		if name != "" {
			if err := e.space.Sysctl(congestionKey, name); err != nil {
				return "", err
			}
		}
		err := e.space.Do(func() error {
			text, err := os.ReadFile(congestionPath)
			is = strings.TrimSpace(string(text))
			return err
		})
		if err != nil {
			return "", fmt.Errorf("asking for TCP's congestion control: %w", err)
		}
	}
	return is, nil
}
