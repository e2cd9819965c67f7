package perf

import (
	"os"
	"testing"
	"time"

	"weft/perf/report"
)

func TestProcessStat(t *testing.T) {
	// A name with brackets and blanks: what a naive split of fields falls over.
	text := "42 (a) (b c) S 1 42 42 0 -1 4194560 1 0 0 0 150 50 7 7 20 0 9 0 100 0 0\n"
	got, err := parseProcessStat([]byte(text))
	if err != nil || got != 2*time.Second {
		t.Errorf("got %v, %v: want 2s for 150+50 ticks", got, err)
	}
	for _, broken := range []string{"", "42 (a", "42 (a) S 1", "42 (a) S 1 42 42 0 -1 4194560 1 0 0 0 x 50"} {
		if got, err := parseProcessStat([]byte(broken)); err == nil {
			t.Errorf("%q gives %v, want an error", broken, got)
		}
	}
}

func TestMachineStat(t *testing.T) {
	text := "cpu  100 10 200 9000 500 30 60 70 80 90\ncpu0 1 1 1 1 1 1 1 1 0 0\n"
	got, err := parseMachineStat([]byte(text))
	if err != nil || got != 4*time.Second {
		t.Errorf("got %v, %v: want 4s for user, nice, system, irq and softirq", got, err)
	}
	for _, broken := range []string{"", "cpu 1 2 3", "cpu0 1 2 3 4 5 6 7 8", "cpu 1 2 3 4 5 6 -7 8"} {
		if got, err := parseMachineStat([]byte(broken)); err == nil {
			t.Errorf("%q gives %v, want an error", broken, got)
		}
	}
}

func TestStatus(t *testing.T) {
	now, peak, err := parseStatus([]byte("Name:\tweft\nVmHWM:\t   2048 kB\nVmRSS:\t 1024 kB\n"))
	if err != nil || now != 1<<20 || peak != 2<<20 {
		t.Errorf("now %d, peak %d, %v: want 1 and 2 MiB", now, peak, err)
	}
	for _, broken := range []string{"", "VmRSS: 1 kB\n", "VmRSS: x kB\nVmHWM: 1 kB\n", "VmRSS: 99999999999999999999 kB\n"} {
		if _, _, err := parseStatus([]byte(broken)); err == nil {
			t.Errorf("%q is taken for a status", broken)
		}
	}
}

func TestOwnProcessCanBeRead(t *testing.T) {
	for start := time.Now(); time.Since(start) < 50*time.Millisecond; {
		_ = time.Now() // burn a few ticks
	}
	used, err := processCPU(os.Getpid())
	if err != nil || used == 0 {
		t.Errorf("this process used %v, %v", used, err)
	}
	now, peak, err := ResidentMemory(os.Getpid())
	if err != nil || now == 0 || peak < now {
		t.Errorf("this process holds %d bytes, at most %d, %v", now, peak, err)
	}
	if all, err := machineCPU(); err != nil || all < used {
		t.Errorf("the machine was busy for %v, %v: less than this process alone", all, err)
	}
}

func TestCostPerGB(t *testing.T) {
	values := map[report.Metric]float64{}
	before := usage{machine: 10 * time.Second, forwarders: time.Second}
	after := usage{machine: 16 * time.Second, forwarders: 3 * time.Second}
	addCost(values, before, after, time.Second, 2e9, true)
	want := map[report.Metric]float64{report.TotalCPU: 3, report.MachineCPU: 2.5, report.ForwarderCPU: 1}
	for metric, value := range want {
		if values[metric] != value {
			t.Errorf("%s is %v s/GB, want %v", metric, values[metric], value)
		}
	}
	none := map[report.Metric]float64{}
	addCost(none, before, after, time.Second, 0, true)
	if len(none) != 0 {
		t.Errorf("no byte was carried, and yet a cost: %v", none)
	}
	addCost(none, before, after, time.Second, 1, false)
	if _, ok := none[report.ForwarderCPU]; ok {
		t.Error("a kernel datapath has a forwarder's cost")
	}
}

func FuzzProc(f *testing.F) {
	f.Add([]byte("42 (a) S 1 42 42 0 -1 4194560 1 0 0 0 150 50"))
	f.Add([]byte("cpu  100 10 200 9000 500 30 60 70\n"))
	f.Add([]byte("VmHWM: 1 kB\nVmRSS: 1 kB\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if used, err := parseProcessStat(text); err == nil && used < 0 {
			t.Errorf("process time %v", used)
		}
		if used, err := parseMachineStat(text); err == nil && used < 0 {
			t.Errorf("machine time %v", used)
		}
		if now, peak, err := parseStatus(text); err == nil && (now == 0 || peak == 0) {
			t.Errorf("memory %d, %d without an error", now, peak)
		}
	})
}
