package report

// A Metric is one thing that a sample measured.
type Metric string

// The metrics. Rates are of what arrived, never of what was sent.
const (
	Gbps         Metric = "gbps"          // 10⁹ payload bits per second
	PPS          Metric = "pps"           // packets per second
	SentPPS      Metric = "sent_pps"      // packets per second that the source handed to its kernel
	Reordered    Metric = "reordered"     // packets of one flow that arrived after a later one
	P50          Metric = "p50_us"        // half round trip, microseconds
	P99          Metric = "p99_us"        //
	P999         Metric = "p999_us"       //
	Connects     Metric = "connects"      // complete connections per second
	ForwarderCPU Metric = "forwarder_cpu" // CPU seconds per 10⁹ payload bytes, user space forwarders of both hosts
	MachineCPU   Metric = "machine_cpu"   // the same for the whole machine but the load generators
	TotalCPU     Metric = "total_cpu"     // the same for the whole machine, load generators included
	RSS          Metric = "rss_mb"        // resident memory of the larger forwarder, 10⁶ bytes
	PeakRSS      Metric = "peak_rss_mb"   // the most it ever was
	LaneOut      Metric = "lane_out"      // share of what arrived that the sending host's eBPF lane had sent; over 1 where some was lost
	LaneIn       Metric = "lane_in"       // the same for the receiving host's lane
)

// LessIsBetter reports whether a smaller value is the better one.
func (m Metric) LessIsBetter() bool {
	switch m {
	case Gbps, PPS, SentPPS, Connects, LaneOut, LaneIn:
		return false
	}
	return true
}

// Scenarios, as samples name them. They live here since tables and goals are about them.
const (
	TCP1     = "tcp1"
	TCP4     = "tcp4"
	TCP16    = "tcp16"
	UDP64    = "udp64"
	IMIX     = "imix"
	UDPMTU   = "udpmtu"
	Latency  = "latency"
	ConnRate = "connect"
	Memory   = "memory"
)

// Wire rows: what the underlay makes of a superpacket.
const (
	RowGSO       = "gso"       // passes it on whole, as veth and virtio between guests of one machine do
	RowSegmented = "segmented" // cuts it into packets of the MTU, as every real wire does
)

// A Column is one figure of the tables: which metric of which scenario, and how to print it.
type Column struct {
	Scenario string
	Metric   Metric
	Title    string  // for a table's head
	Unit     string  // for a chart's axis
	Scale    float64 // printed value = value / Scale
	Decimals int
}

// Columns are the tables' columns, left to right.
func Columns() []Column {
	return []Column{
		{TCP1, Gbps, "TCP 1", "Gb/s", 1, 2},
		{TCP4, Gbps, "TCP 4", "Gb/s", 1, 2},
		{TCP16, Gbps, "TCP 16", "Gb/s", 1, 2},
		{UDP64, PPS, "64 B", "kpps", 1e3, 0},
		{IMIX, PPS, "IMIX", "kpps", 1e3, 0},
		{UDPMTU, PPS, "MTU", "kpps", 1e3, 0},
		{Latency, P50, "p50", "µs", 1, 1},
		{Latency, P99, "p99", "µs", 1, 1},
		{Latency, P999, "p99.9", "µs", 1, 1},
		{ConnRate, Connects, "conn", "k/s", 1e3, 1},
		{TCP1, ForwarderCPU, "CPU fwd", "s/GB", 1, 3},
		{TCP1, MachineCPU, "CPU -load", "s/GB", 1, 3},
		{TCP1, TotalCPU, "CPU all", "s/GB", 1, 3},
		{Memory, PeakRSS, "RSS", "MB", 1, 1},
	}
}
