package doctor

import (
	"fmt"
	"io"

	"weft/kernelmode"
)

// A Way is one datapath that packets of some backend types can take, if this machine lets them.
type Way struct {
	Datapath string `json:"datapath"`
	For      string `json:"for"` // the backend types
	Works    bool   `json:"works"`
	Obstacle string `json:"obstacle,omitempty"` // a fixed word; see docs/datapaths.md
	Why      string `json:"why,omitempty"`      // what the kernel answered
	Remedy   string `json:"remedy,omitempty"`   // what would have to change
	Limit    string `json:"limit,omitempty"`    // what it lacks although it works
}

// ways tries every datapath, as an agent does before it chooses.
func ways(try func(kernelmode.Feature) kernelmode.Capability) []Way {
	all := []Way{
		wayOf("kernel", "vxlan", try(kernelmode.FeatureVXLAN)),
		wayOf("kernel", "ipip", try(kernelmode.FeatureIPIP)),
		wayOf("userspace", "udp, vxlan, ipip", try(kernelmode.FeatureTUN)),
	}
	return all
}

// laneWay is the express lane's. What it would lack here is no obstacle.
func laneWay(c kernelmode.Capability, limit error) Way {
	w := wayOf("express", "udp, vxlan, ipip", c)
	if w.Works && limit != nil {
		w.Limit = limit.Error()
	}
	return w
}

func wayOf(datapath, kinds string, c kernelmode.Capability) Way {
	w := Way{Datapath: datapath, For: kinds, Works: c.OK(), Obstacle: string(c.Obstacle), Remedy: c.Remedy}
	if c.Err != nil {
		w.Why = c.Err.Error()
	}
	return w
}

// writeWays writes them for a person, each obstacle with its remedy.
func writeWays(w io.Writer, all []Way) {
	fmt.Fprintf(w, "\nDATAPATH\tBACKEND TYPES\tHERE\tWHAT IS IN THE WAY\n")
	for _, one := range all {
		why := "-"
		if !one.Works {
			why = fmt.Sprintf("%s: %s", one.Obstacle, one.Why)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", one.Datapath, one.For, yes(one.Works), why)
		if one.Remedy != "" {
			fmt.Fprintf(w, "\t\t\t→ %s\n", one.Remedy)
		}
		if one.Limit != "" {
			fmt.Fprintf(w, "\t\t\tbut %s\n", one.Limit)
		}
	}
}
