package agent

import (
	"fmt"
	"log/slog"

	"weft/forwarder"
	"weft/tunnel"
)

// openOutlets opens a worker's way each for superpackets that leave whole. There is none where the operator
// doesn't want it, and none where this kernel or container can't have it, which is only an error if he
// insists: then UDP_SEGMENT does it, as to peers that may not get superpackets.
func openOutlets(f fabric, o Options, workers int, log *slog.Logger) ([]*tunnel.Outlet, error) {
	if o.Modes.TunnelGSO == tunnel.Off || o.Modes.TSO == tunnel.Off || o.IO == "portable" {
		return nil, nil
	}
	outlets, err := tunnel.OpenOutlets(outletName(o.TUNName), f.underlay.Name, workers)
	if err == nil {
		return outlets, nil
	}
	if o.Modes.TunnelGSO == tunnel.On {
		return nil, fmt.Errorf("%w: use --offload-udp-tunnel-gso=auto", err)
	}
	log.Info("superpackets don't leave whole", "why", err)
	return nil, nil
}

// withOutlets gives each worker its outlet, if there are any.
func withOutlets(workers []forwarder.Worker, outlets []*tunnel.Outlet) []forwarder.Worker {
	for i, o := range outlets {
		workers[i].Outlet = o
	}
	return workers
}

// outletName names the device beside the one whose packets it takes; 15 bytes are the most that a name has.
func outletName(tun string) string { return tun[:min(len(tun), 11)] + "-out" }
