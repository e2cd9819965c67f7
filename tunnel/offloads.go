package tunnel

// Offloads is the ladder: which rungs are in use. It is plain data, made by probing once at open
// and lowered at run time by the error that showed a rung broken.
type Offloads struct {
	TSO        bool `json:"tso"`        // TUN hands and takes TCP superpackets (TUN_F_TSO4|TSO6)
	USO        bool `json:"uso"`        // TUN hands and takes UDP superpackets (TUN_F_USO4|USO6, Linux 6.2)
	GSO        bool `json:"gso"`        // UDP_SEGMENT: one send for a run (Linux 4.18)
	GRO        bool `json:"gro"`        // UDP_GRO: one receive for a train (Linux 5.0)
	MultiQueue bool `json:"multiQueue"` // IFF_MULTI_QUEUE: one TUN descriptor a worker
	TunnelGSO  bool `json:"tunnelGSO"`  // an Outlet takes superpackets whole (TUN_F_UDP_TUNNEL_GSO, Linux 6.17); no queue's or conn's
	Batch      bool `json:"batch"`      // recvmmsg and sendmmsg of more than one message
}
