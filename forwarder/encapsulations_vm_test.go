package forwarder_test

import (
	"testing"

	"weft/perf/vm/vmtest"
)

// IPIP with the kernel's own device at the other end, which this machine's kernel may lack, and VXLAN
// between userspace and an older kernel.
func TestVMEncapsulations(t *testing.T) {
	vmtest.Required(t)
	t.Run("IPIP", func(t *testing.T) { testIPIP(t, fastIPIP, kernelIPIP, manyIPIP) })
	t.Run("VXLAN", func(t *testing.T) { mixesCarryEverything(t, []vxlanMix{fastAndKernel}) })
	t.Run("VXLAN that asks", TestKernelPeerThatAsksIsAnswered)
}
