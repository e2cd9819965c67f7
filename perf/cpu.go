package perf

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of times in /proc, 1/USER_HZ, which is 100 on every Linux ABI that Go runs on.
const tick = time.Second / 100

// processCPU is the user and system time that a process has used so far, all threads, dead ones too.
func processCPU(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("reading the CPU time of process %d: %w", pid, err)
	}
	return parseProcessStat(text)
}

// parseProcessStat reads utime and stime, fields 14 and 15 of proc_pid_stat(5). The second field is
// the program's name in brackets and may itself hold blanks and brackets: count from the last one.
func parseProcessStat(text []byte) (time.Duration, error) {
	_, rest, ok := cutLast(text, ')')
	fields := strings.Fields(string(rest))
	const utime, stime = 14 - 3, 15 - 3 // rest begins with field 3
	if !ok || len(fields) <= stime {
		return 0, fmt.Errorf("parsing process stat %q: too few fields", text)
	}
	return ticks(fields[utime], fields[stime])
}

// cutLast is bytes.Cut at the last occurrence.
func cutLast(text []byte, at byte) (before, after []byte, found bool) {
	i := bytes.LastIndexByte(text, at)
	if i < 0 {
		return text, nil, false
	}
	return text[:i], text[i+1:], true
}

// ticks adds up counters of clock ticks.
func ticks(counters ...string) (time.Duration, error) {
	var sum time.Duration
	for _, counter := range counters {
		n, err := strconv.ParseInt(counter, 10, 64)
		if err != nil || n < 0 {
			return 0, fmt.Errorf("parsing CPU time %q: not a count of ticks", counter)
		}
		sum += time.Duration(n) * tick
	}
	return sum, nil
}

// machineCPU is the time that all cores together have been busy so far.
func machineCPU() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("reading the machine's CPU time: %w", err)
	}
	return parseMachineStat(text)
}

// parseMachineStat adds user, nice, system, irq and softirq of proc_stat(5)'s first line: all but idle,
// iowait, and what a hypervisor took. Guest time is part of user already.
func parseMachineStat(text []byte) (time.Duration, error) {
	line, _, _ := bytes.Cut(text, []byte{'\n'})
	fields := strings.Fields(string(line))
	if len(fields) < 8 || fields[0] != "cpu" {
		return 0, fmt.Errorf("parsing machine stat %q: want a line of cpu and at least 7 counters", line)
	}
	return ticks(fields[1], fields[2], fields[3], fields[6], fields[7])
}

// ResidentMemory is what a process has in RAM now, and the most that it ever had, in bytes.
func ResidentMemory(pid int) (now, peak uint64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, fmt.Errorf("reading the memory of process %d: %w", pid, err)
	}
	return parseStatus(text)
}

// parseStatus reads VmRSS and VmHWM of proc_pid_status(5), which are in kB.
func parseStatus(text []byte) (now, peak uint64, err error) {
	for line := range bytes.Lines(text) {
		key, value, _ := strings.Cut(string(line), ":")
		// A kernel thread or a zombie has neither line; then both stay 0, which no process can have.
		into := map[string]*uint64{"VmRSS": &now, "VmHWM": &peak}[key]
		if into == nil {
			continue
		}
		number := strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB"))
		kilobytes, err := strconv.ParseUint(number, 10, 44) // 44 bits, so that the shift can't overflow
		if err != nil {
			return 0, 0, fmt.Errorf("parsing memory %q: not a number of kB", strings.TrimSpace(string(line)))
		}
		*into = kilobytes << 10
	}
	if now == 0 || peak == 0 {
		return 0, 0, fmt.Errorf("parsing process status: no VmRSS and VmHWM in it")
	}
	return now, peak, nil
}

// Busy is the share of all cores, 0 to 1, that programs use over the next d.
func Busy(ctx context.Context, d time.Duration) (float64, error) {
	before, err := machineCPU()
	if err != nil {
		return 0, err
	}
	select {
	case <-time.After(d):
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	after, err := machineCPU()
	return float64(after-before) / float64(d) / float64(runtime.NumCPU()), err
}
