package agent

import (
	"weft/forwarder"
	"weft/tunnel"
)

// lowered lists what errors took from the descriptors of a worker since they were opened.
func lowered(w forwarder.Worker) (all []string) {
	add := func(name string, descriptor any) {
		if d, ok := descriptor.(interface{ LoweredBy() string }); ok && d.LoweredBy() != "" {
			all = append(all, name+": "+d.LoweredBy())
		}
	}
	add("device", w.Queue)
	if w.Outlet != nil {
		add("outlet", w.Outlet)
	}
	for _, conn := range connsOf(w) {
		add(conn.LocalAddr().String(), conn)
	}
	return all
}

// offloadsOf joins what the queue and the conns of a worker have in use.
func offloadsOf(w forwarder.Worker) tunnel.Offloads {
	o := w.Queue.Offloads()
	o.GSO, o.GRO, o.Batch = true, true, true
	o.TunnelGSO = w.Outlet != nil && w.Outlet.LoweredBy() == ""
	for _, conn := range connsOf(w) {
		c := conn.Offloads()
		o.GSO, o.GRO, o.Batch = o.GSO && c.GSO, o.GRO && c.GRO, o.Batch && c.Batch
	}
	return o
}

// both counts a rung only where every worker has it: what is off somewhere costs some flows.
func both(a, b tunnel.Offloads) tunnel.Offloads {
	return tunnel.Offloads{
		TSO: a.TSO && b.TSO, USO: a.USO && b.USO, GSO: a.GSO && b.GSO, GRO: a.GRO && b.GRO,
		MultiQueue: a.MultiQueue && b.MultiQueue, Batch: a.Batch && b.Batch, TunnelGSO: a.TunnelGSO && b.TunnelGSO,
	}
}
