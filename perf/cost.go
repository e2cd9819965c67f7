package perf

import (
	"time"

	"weft/perf/report"
)

// A usage is CPU time used so far, read at one moment.
type usage struct{ machine, forwarders time.Duration }

// usageOf reads the machine and the forwarders.
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

// addCost puts the cost of carrying a number of payload bytes into a sample.
func addCost(values map[report.Metric]float64, before, after usage, generators time.Duration, bytes uint64, forwarders bool) {
	if bytes == 0 {
		return
	}
	perGB := func(d time.Duration) float64 { return max(d, 0).Seconds() / (float64(bytes) / 1e9) }
	machine := after.machine - before.machine
	values[report.TotalCPU] = perGB(machine)
	values[report.MachineCPU] = perGB(machine - generators)
	if forwarders {
		values[report.ForwarderCPU] = perGB(after.forwarders - before.forwarders)
	}
}

// memoryOf is the memory of the largest forwarder, as metrics; nil without forwarders.
func memoryOf(forwarders []*process) (map[report.Metric]float64, error) {
	var values map[report.Metric]float64
	for _, p := range forwarders {
		now, peak, err := residentMemory(p.pid())
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
