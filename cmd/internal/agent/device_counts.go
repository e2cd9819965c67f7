package agent

import (
	"os"
	"strconv"
	"strings"
)

// deviceCounts is what the kernel counted on devices of its own, under the names of the forwarder's counts.
// The file is of the calling thread's network namespace (proc_pid_net(5)); one that can't be read counts
// nothing, which status shows as none.
func deviceCounts(devices []string) map[string]uint64 {
	text, err := os.ReadFile("/proc/thread-self/net/dev")
	if err != nil {
		return nil
	}
	return sumDevices(string(text), devices)
}

// Columns of /proc/net/dev behind the device's name (net/core/net-procfs.c, dev_seq_printf_stats).
const (
	columnReceivedBytes, columnReceivedPackets = 0, 1
	columnSentBytes, columnSentPackets         = 8, 9
	deviceColumns                              = 16
)

// sumDevices adds up the lines of the devices named. Lines that aren't as expected are left out.
func sumDevices(text string, devices []string) map[string]uint64 {
	sum := map[string]uint64{}
	for line := range strings.Lines(text) {
		name, rest, ok := strings.Cut(line, ":")
		fields := strings.Fields(rest)
		if !ok || len(fields) < deviceColumns {
			continue
		}
		for _, device := range devices {
			if strings.TrimSpace(name) != device {
				continue
			}
			for key, column := range map[string]int{
				"ingress_bytes": columnReceivedBytes, "ingress_packets": columnReceivedPackets,
				"egress_bytes": columnSentBytes, "egress_packets": columnSentPackets,
			} {
				if n, err := strconv.ParseUint(fields[column], 10, 64); err == nil {
					sum[key] += n
				}
			}
		}
	}
	return sum
}
