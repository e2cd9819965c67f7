package tunnel_test

import (
	"testing"

	"weft/perf/vm/vmtest"
)

// The suites of the real queues and conns on another kernel than this one: what probing finds there differs,
// and with it which rungs carry the packets.
func TestVMQueuesAndConns(t *testing.T) {
	vmtest.Required(t)
	t.Run("fast queue", TestFastQueue)
	t.Run("queues of one device", TestFastQueuesOfOneDevice)
	t.Run("fast conn", TestFastConn)
	t.Run("fast and portable conn", TestFastConnWithPortableConn)
	t.Run("trains", TestFastConnCarriesTrains)
	t.Run("over the path MTU", TestFastConnOverThePathMTU)
	t.Run("portable queue", TestPortableQueue)
	t.Run("portable conn", TestPortableConn)
	t.Run("probing", TestProbeAgreesWithQueueAndConn)
}
