package perf

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"weft/perf/report"
)

// newReport begins a report with where and how it is made. It fails before anything is built when
// the load generator that was asked for isn't there.
func (o *Options) newReport(ctx context.Context) (*report.Run, error) {
	host, err := DescribeHost()
	if err != nil {
		return nil, err
	}
	host.Commit = o.Commit
	if err := o.checkCongestion(); err != nil {
		return nil, err
	}
	using := o.Load // with the version where it isn't our own: iperf3's releases differ in speed
	if o.Load == LoadIPerf {
		version := versionOf(ctx, "iperf3", "--version")
		if version == "" {
			return nil, fmt.Errorf("iperf3 doesn't run: install it, or use --load %s", LoadOwn)
		}
		using, _, _ = strings.Cut(version, " (")
	}
	return &report.Run{
		Format: report.Format, Host: host, Date: time.Now().UTC().Truncate(time.Second),
		Settings: report.Settings{
			Rounds: o.Rounds, Seconds: o.Duration.Seconds(), Warmup: o.Warmup.Seconds(),
			Load: using, Ends: o.Ends, Underlay: o.UnderlayMTU,
		},
	}, nil
}

// DescribeHost reads what the figures depend on. Go's version is that of this binary, which is the
// agents' too.
func DescribeHost() (report.Host, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return report.Host{}, fmt.Errorf("asking for the kernel's version: %w", err)
	}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return report.Host{}, fmt.Errorf("asking for the size of the memory: %w", err)
	}
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return report.Host{}, fmt.Errorf("asking for the CPU's name: %w", err)
	}
	return report.Host{
		CPU: cpuModel(text), Cores: runtime.NumCPU(), Memory: uint64(info.Totalram) * uint64(info.Unit),
		Kernel: unix.ByteSliceToString(name.Release[:]), Go: runtime.Version(),
	}, nil
}

// cpuModel finds the name in /proc/cpuinfo; not every architecture has one.
func cpuModel(cpuinfo []byte) string {
	lines := bufio.NewScanner(bytes.NewReader(cpuinfo))
	for lines.Scan() {
		key, value, ok := strings.Cut(lines.Text(), ":")
		if ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}
