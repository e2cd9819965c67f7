package express_test

import (
	"testing"

	"weft/kernelmode/express"
	"weft/perf/vm/vmtest"
)

// The lane on another kernel than this one: an older verifier, filters in the place of links where the kernel is
// older than 6.6, and the kernel's own ipip device at the other end.
func TestVMLane(t *testing.T) {
	vmtest.Required(t)
	t.Run("carries everything", func(t *testing.T) {
		crossEverywhere(t, []mix{
			{"udp", spec{encap: express.EncapUDP, inner6: true, hosts: []kind{byLane, byLane, byUserspace}}},
			{"vxlan", spec{encap: express.EncapVXLAN, inner6: true, hosts: []kind{byLane, byKernel}}},
			{"ipip", spec{encap: express.EncapIPIP, hosts: []kind{byLane, byLane, byKernel}}},
			{"vxlan over IPv6", spec{encap: express.EncapVXLAN, inner6: true, outer6: true, hosts: []kind{byLane, byKernel}}},
		})
	})
	t.Run("outlives its agent", TestLaneOutlivesItsAgent)
	t.Run("notices that it was detached", TestLaneNoticesThatItWasDetached)
	t.Run("stands beside others", TestLaneStandsBesideOthers)
	t.Run("refuses", TestLaneRefuses)
	t.Run("passes superpackets on whole", func(t *testing.T) {
		superpacketsReachContainersWhole(t, []spec{
			{encap: express.EncapUDP, inner6: true}, {encap: express.EncapVXLAN, inner6: true}, {encap: express.EncapIPIP},
		})
	})
	t.Run("leaves bulk to userspace", TestBulkGoesByUserspaceWhereTheUnderlayCuts)
	t.Run("removed", TestRemoveLeavesNothing)
}
