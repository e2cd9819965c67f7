package perf

import (
	"time"

	"weft/perf/report"
)

// A usage is CPU time used so far, read at one moment.
type usage struct{ machine, forwarders time.Duration }

// usageOf reads the machine first and the forwarders after it. The few microseconds between both are
// nothing beside a clock tick, which is the unit of both.
func usageOf(forwarders []*process) (usage, error) {
	var u usage
	var err error
	if u.machine, err = machineCPU(); err != nil {
		return u, err
	}
	for _, p := range forwarders {
		used, err := processCPU(p.pid())
		if err != nil {
			return u, err
		}
		u.forwarders += used
	}
	return u, nil
}

// addCost puts the cost of carrying a number of payload bytes into a sample. The bytes are all that
// arrived, warm-up and run-out included, since the clocks ran through those too. A rate needs a window
// in the middle of the traffic; a cost per byte doesn't, and is steadier over all of it.
//
// Generators are subtracted as their own getrusage has them. In a kernel datapath that takes most of the
// work away with them, because a veth's transmit path runs in the sender's system call. That is why
// TotalCPU is kept too.
func addCost(values map[report.Metric]float64, before, after usage, generators time.Duration, bytes uint64, forwarders bool) {
	if bytes == 0 {
		return
	}
	// Ticks of different clocks can make a small difference negative; no work is what it then means.
	perGB := func(d time.Duration) float64 { return max(d, 0).Seconds() / (float64(bytes) / 1e9) }
	machine := after.machine - before.machine
	values[report.TotalCPU] = perGB(machine)
	values[report.MachineCPU] = perGB(machine - generators)
	if forwarders {
		values[report.ForwarderCPU] = perGB(after.forwarders - before.forwarders)
	}
}

// memoryOf is the memory of the largest forwarder, as metrics; nil without forwarders. The goal is
// about one host's process, so both hosts aren't added up.
func memoryOf(forwarders []*process) (map[report.Metric]float64, error) {
	var values map[report.Metric]float64
	for _, p := range forwarders {
		now, peak, err := ResidentMemory(p.pid())
		if err != nil {
			return nil, err
		}
		if values == nil {
			values = map[report.Metric]float64{}
		}
		values[report.RSS] = max(values[report.RSS], float64(now)/1e6)
		values[report.PeakRSS] = max(values[report.PeakRSS], float64(peak)/1e6)
	}
	return values, nil
}
