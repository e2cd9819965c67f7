package agent

import (
	"log/slog"
	"slices"

	"weft/tunnel"
)

// heed switches off the rungs that probing found broken, as far as the operator left them to probing,
// and returns why each went. A kernel that mangles runs of datagrams (7.0 to 7.1.4) takes the setting
// and reports no error afterwards: only trying shows it.
func heed(modes tunnel.Modes, found []tunnel.Rung, log *slog.Logger) (tunnel.Modes, []string) {
	wishes := map[string]*tunnel.Mode{
		"tso": &modes.TSO, "uso": &modes.USO, "gso": &modes.GSO, "gro": &modes.GRO,
		"multi-queue": &modes.MultiQueue, "batch": &modes.Batch,
	}
	var lowered []string
	for _, rung := range found {
		wish, ok := wishes[rung.Name]
		if !ok || rung.On || *wish != tunnel.Auto {
			continue
		}
		*wish = tunnel.Off
		lowered = append(lowered, rung.Name+": "+rung.Why)
		log.Warn("an offload doesn't work here", "rung", rung.Name, "why", rung.Why)
	}
	return modes, slices.Clip(lowered)
}
